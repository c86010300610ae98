"""FLOPs: the other control, beside parameters.

    score = FLOPs of one sample in evaluation, two for a multiply-add

The same papers as for params.py. It draws nothing, and of the batches it reads the shape of one sample. The counter and
what it leaves out (norms, pools, additions) are those of `supernet.cost`; some tables print multiply-adds, half of it.
"""

from ...cost.count import count
from ...cost.placed import Part
from ..probe import Trial
from .registry import zero_cost

__all__ = ["flops"]


@zero_cost("flops")
def flops(trial: Trial, /) -> float:
    """FLOPs of one sample of the first batch, as `supernet.cost.flops` counts them."""
    sample = (1, *trial.images.shape[1:])
    return float(count(Part("network", (sample,), lambda: trial.network)).flops)
