"""The network learns from what it was in the epochs before (SD-DARTS; Zhu et al., arXiv:2302.05629).

q = mean over the teachers of softmax(logits of a teacher / T),    the teachers: the supernet after its last K epochs
L_train + weight * T^2 * KL(q || softmax(logits / T))

Weights that agree with those of before lie in flatter places. A teacher is a copy of weights and alphas, which the
checkpoint holds; it sees the step's own batch with the relaxation of its alphas, and norms take the batch's statistics.
Before the first epoch has ended there is no teacher, and nothing is added.

A reconstruction from the abstract, which calls the mean a vote of several earlier supernets: how many, which ones, the
weight and the temperature are ours.
"""
# B batch, K classes, N numbers of a copy

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import SupernetError
from ...network import Supernet
from ...network.freezing import batch_norms, frozen, frozen_statistics
from ..look import Look
from ..parts import REGULARISERS, Regulariser
from ..problem import Problem, moved

__all__ = ["SelfDistillation"]


@REGULARISERS.register("self_distillation")
class SelfDistillation(Regulariser):
    """`teachers` is 1 or more, `weight` 0 or more, `temperature` above 0.

    Costs a forward pass a teacher, one pass of the network's own, and the memory of the copies.
    """

    copies: Tensor  # [teachers, N], the newest first
    there: Tensor  # [teachers], 1 where a copy was made
    traits = frozenset({"teachers"})

    def __init__(self, teachers: int = 3, weight: float = 1.0, temperature: float = 1.0) -> None:
        super().__init__()
        if teachers < 1:
            raise SupernetError(f"self_distillation: teachers={teachers} must be 1 or more")
        if weight < 0:
            raise SupernetError(f"self_distillation: weight={weight} must be 0 or more")
        if temperature <= 0:
            raise SupernetError(f"self_distillation: temperature={temperature} must be above 0")
        self.teachers, self.weight, self.temperature = teachers, float(weight), float(temperature)
        self._bound: list[tuple[Supernet, list[nn.Module]]] = []  # in a list: the network is no part of this module

    def bind(self, net: Supernet, seed: int) -> None:
        """Room for the copies, filled with the present state."""
        self._bound = [(net, batch_norms(net))]
        flat_N = _flat(net)
        self.register_buffer("copies", flat_N.expand(self.teachers, -1).clone())
        self.register_buffer("there", torch.zeros(self.teachers).to(flat_N))

    @torch.no_grad()
    def end_epoch(self, look: Look) -> Mapping[str, float]:
        """Keeps a copy of the network as it is now, in place of the oldest."""
        self.copies.copy_(self.copies.roll(1, dims=0))
        self.copies[0] = _flat(look.net)
        self.there.copy_(self.there.roll(1))
        self.there[0] = 1
        return {}

    def weights(self, problem: Problem) -> Sequence[Tensor] | None:
        """weight * T^2 times the gradient of the divergence, in the shapes of the weights."""
        assert problem.mixture is not None
        ((net, norms),) = self._bound
        with frozen_statistics(net, norms):
            q_BK = self.vote(problem)
            with frozen(problem.alphas):
                logits_BK, _ = problem.forward("train", problem.mixture())
                gradients = problem.gradient(self.divergence(q_BK, logits_BK), problem.weights)
        factor = self.weight * self.temperature**2 * self.there[0]
        return [factor.to(g.dtype) * g for g in gradients]

    def divergence(self, q_BK: Tensor, logits_BK: Tensor) -> Tensor:
        """The mean over the batch of KL(q || softmax(logits / T)), a scalar, for q and logits [B, K]."""
        log_p = F.log_softmax(logits_BK / self.temperature, dim=1)
        return F.kl_div(log_p, q_BK, reduction="none").sum(1).mean()

    @torch.no_grad()
    def vote(self, problem: Problem) -> Tensor:
        """The mean prediction [B, K] of the teachers; that of the present state where there is none yet."""
        ((net, _),) = self._bound
        parameters = _parameters(net)
        votes = []
        for copy_N in self.copies:
            parts = copy_N.split([w.numel() for w in parameters])
            with moved(parameters, [part.view(w.shape) for part, w in zip(parts, parameters, strict=True)]):
                logits_BK, _ = problem.forward("train", net.mixture())
            votes.append(torch.softmax(logits_BK / self.temperature, dim=1))
        counts = torch.where(self.there.any(), self.there, torch.ones_like(self.there)).to(votes[0].dtype)
        return torch.einsum("t,t...->...", counts, torch.stack(votes)) / counts.sum()


def _parameters(net: Supernet) -> list[Tensor]:
    return [*net.body.parameters(), *net.alphas()]


def _flat(net: Supernet) -> Tensor:
    """All weights and alphas as one [N]."""
    return torch.cat([w.detach().reshape(-1) for w in _parameters(net)])
