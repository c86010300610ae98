"""Candidate operations, one family a file, under one signature: (c_in, c_out, stride, affine) -> nn.Module.

Importing this package fills the registry `OPERATIONS`; a new family is one file here and one line below.
"""

if __name__ != "supernet.ops":
    raise ImportError("import this package as 'supernet.ops': under a bare name its registry would be filled twice")

from . import beside_skip, convolution, identity, noise, pool, separable
from .preactivated import PreActivated
from .registry import OPERATIONS, operation

__all__ = [
    "OPERATIONS",
    "PreActivated",
    "beside_skip",
    "convolution",
    "identity",
    "noise",
    "operation",
    "pool",
    "separable",
]
