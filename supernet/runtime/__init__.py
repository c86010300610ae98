"""What a step runs on: the device, ranks, the guard against numbers that are not finite, CUDA graphs, memory."""
