"""Separable convolutions: the first halves that leave one state together, and the second halves behind their norm.

`edge_group.py` and `sep_second.py` hold the operators and their references, `cpu.py` the compiled CPU bodies
(*.cpp), `forward.py` and `backward.py` what is launched on a GPU (*.cu).
"""
