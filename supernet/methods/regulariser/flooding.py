"""The weights' loss is kept from falling below a level (flooding; Ishida et al., arXiv:2002.08709).

|L_train - level| + level         its gradient is sign(L_train - level) times that of L_train

Below the level the weights go uphill, so that the loss hovers around it and the supernet does not fit its training part
to the last sample. beta-DARTS++ (Ye et al., arXiv:2301.06393) adds it to beta decay for its weights' half.

A reconstruction: that paper was at hand as an abstract only, which gives no level. It turns round what the loss and the
regularisers before it in the list have left, so it comes first.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ...errors import SupernetError
from ...network import Supernet
from ..parts import REGULARISERS, Regulariser
from ..problem import Problem

__all__ = ["Flooding"]


@REGULARISERS.register("flooding")
class Flooding(Regulariser):
    """`level`, 0 or more, in units of the loss."""

    level: Tensor
    traits = frozenset({"floods"})

    def __init__(self, level: float = 0.2) -> None:
        super().__init__()
        if level < 0:
            raise SupernetError(f"flooding: level={level} must be 0 or more")
        self.register_buffer("level", torch.tensor(float(level)), persistent=False)

    def bind(self, net: Supernet, seed: int) -> None:
        self.to(net.alphas()[0].device)

    @torch.no_grad()
    def weights(self, problem: Problem) -> Sequence[Tensor] | None:
        """(sign(L - level) - 1) times the gradients that are there, in the shapes of the weights."""
        assert problem.value is not None
        value = problem.value.clone()
        if problem.reduce is not None:  # so that all ranks turn alike
            problem.reduce([value])
        turn = torch.sign(value - self.level) - 1
        return [torch.zeros_like(w) if w.grad is None else turn.to(w.dtype) * w.grad for w in problem.weights]
