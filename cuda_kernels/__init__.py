"""Fused kernels, one family a folder: reference, CPU and CUDA side by side, registered with ``torch.library``.

A family (`separable/`, `node_mix/`, `pool_pair/`) holds its kernels (*.cu) and compiled CPU bodies (*.cpp) beside the
Python that names them: operators with their references, `cpu.py`, and what is launched. `gpu/` compiles CUDA with NVRTC
and launches it, `host/` compiles the CPU bodies, `code_cache.py` keeps machine code, `selfcheck.py` proves a GPU.
Sources name their headers from this folder. Nothing here needs a GPU, a compiler or CUDA's bindings before a tensor on
a GPU comes along.
"""

if __name__ != "supernet.cuda_kernels":
    raise ImportError(f"this folder is the package supernet.cuda_kernels; import it by that name, not as {__name__!r}")
