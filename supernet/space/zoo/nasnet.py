"""The NASNet space (Zoph et al.; arXiv:1707.07012), with AmoebaNet's cells (arXiv:1802.01548) as DARTS has them.

Five nodes a cell; each is the sum of two terms, and each term chooses any earlier state and an operation, so that a
state may be taken twice: (9^10 * (2 * 3 * 4 * 5 * 6)^2)^2 = 3.27e30 points. The relaxed cell has
2 * (2 + 3 + 4 + 5 + 6) = 40 rows.
"""

from ..cells import NasnetCells
from ..registry import SPACES

__all__ = ["OPERATIONS", "NasnetCells", "nasnet"]

OPERATIONS = (
    "avg_pool_3x3",
    "max_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "sep_conv_7x7",
    "dil_conv_3x3",
    "dil_conv_5x5",
    "conv_7x1_1x7",
)


@SPACES.register("nasnet")
def nasnet() -> NasnetCells:
    """The space of NASNet's and AmoebaNet's cells."""
    return NasnetCells(
        "nasnet",
        {},
        kinds=("normal", "reduce"),
        reductions=("reduce",),
        inputs=2,
        nodes=5,
        operations=OPERATIONS,
        macro="darts",
    )
