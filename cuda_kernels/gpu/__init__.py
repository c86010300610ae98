"""CUDA kernels from source to launch: named, compiled by NVRTC, loaded and run; the headers (*.cuh) that all share."""
