"""Fused kernels, one family a file: reference, CPU and CUDA side by side, registered with ``torch.library``.

A family is NAME.cu (the kernels) and NAME.py (operators, reference, CPU body, what to launch). `device.cuh` and
`geometry.py` hold what all share; `compile.py` makes machine code with NVRTC, `code_cache.py` keeps it, `launch.py`
runs it. Nothing here needs a GPU, a compiler or CUDA's bindings before a tensor on a GPU comes along.
"""

if __name__ != "supernet.cuda_kernels":
    raise ImportError(f"this folder is the package supernet.cuda_kernels; import it by that name, not as {__name__!r}")
