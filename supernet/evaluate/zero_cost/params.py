"""Parameters: the control that every other score has to beat.

    score = learned numbers of the network

Abdelfattah et al., "Zero-cost proxies for lightweight NAS", https://arxiv.org/abs/2101.08134, and White et al., "A
deeper look at zero-cost proxies", https://iclr-blog-track.github.io/2022/03/25/zero-cost-proxies/: many a score
follows the size of a network and says little beyond it. It draws nothing, and of the batches it reads nothing.
"""

from ...cost.count import count
from ...cost.placed import Part
from ..probe import Trial
from .registry import zero_cost

__all__ = ["params"]


@zero_cost("params")
def params(trial: Trial, /) -> float:
    """Learned numbers, as `supernet.cost.parameters` counts them."""
    return float(count(Part("network", (), lambda: trial.network, runs=False)).parameters)
