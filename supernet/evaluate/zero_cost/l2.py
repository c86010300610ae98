"""L2 norm of the weights: a second control, which sees neither data nor how layers are joined.

Abdelfattah et al., "Zero-cost proxies for lightweight NAS", the authors' code (SamsungLabs/zero-cost-nas, l2_norm.py):
https://arxiv.org/abs/2101.08134

    score = sum over layers of |theta|_2   weights of convolutions and linear layers

It is the authors' code without change. At initial weights it follows the number and width of the layers.
"""

from ..probe import Trial, weights
from .registry import zero_cost

__all__ = ["l2"]


@zero_cost("l2")
def l2(trial: Trial, /) -> float:
    """Of the batches it reads nothing."""
    return sum(float(w.detach().norm()) for w in weights(trial.network))
