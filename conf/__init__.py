"""The configurations: one primary config a stage, one group a part. Hydra finds them as ``pkg://supernet.conf``."""

if __name__ != "supernet.conf":
    raise ImportError(f"this folder is the package supernet.conf; import it by that name, not as {__name__!r}")
