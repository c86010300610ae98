"""Both poolings of a state in one read: `pair.py` has operators, references and what is launched on a GPU (*.cu).

`cpu.py` has the compiled CPU bodies (*.cpp).
"""
