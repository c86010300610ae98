"""What several measurements share: options, results, hardware, memory, seconds, a process for each formulation."""
