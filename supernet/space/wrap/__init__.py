"""`wrap`: makes a space of an existing network by pattern, and ready alternatives that know the original's sizes.

from supernet.space.wrap import identity, kernel, without, wrap

space = wrap(model, {"blocks.*.conv_dw": {"k5": kernel(5), "skip": identity}, "blocks.*.mlp": {"none": without}})

Options that are equal functions at the start give their alphas no slope until the weights have parted: let a search
begin with `method.warmup_epochs` of weights alone.
"""

from .convolution import depthwise, kernel, operation
from .identity import identity, without
from .width import bottleneck, width
from .wrapping import wrap

__all__ = ["bottleneck", "depthwise", "identity", "kernel", "operation", "width", "without", "wrap"]
