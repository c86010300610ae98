"""The node of a mixed cell: `mix.py` adds weighed, normalised terms, `shuffled.py` does so for partial channels.

Operators and references stand there beside what is launched on a GPU (node_mix.cu); `cpu.py` has the compiled CPU
bodies (node_mix.cpp).
"""
