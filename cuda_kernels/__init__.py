"""Fused kernels, one family a file: reference, CPU and CUDA side by side, registered with ``torch.library``."""

if __name__ != "supernet.cuda_kernels":
    raise ImportError(f"this folder is the package supernet.cuda_kernels; import it by that name, not as {__name__!r}")
