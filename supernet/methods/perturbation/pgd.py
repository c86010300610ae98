"""The worst mixing weights near the present ones while weights learn (SDARTS-ADV; Chen and Hsieh, arXiv:2002.05283).

delta ~ U(-eps, eps);   q = clip(p + delta)
`steps` times:   delta <- q + (2 eps / steps) sign(grad_q L_train(q)) - p, cut to [-eps, eps];   q = clip(p + delta)
back to p where L_train(q) < L_train(p);         eps = eps_start + (eps_end - eps_start) e / T

One q a table, shared by its cells; L_train is that of this step's own batch, in evaluation mode: norms use their
running statistics and leave them alone. clip(x) cuts x to [0, 1] and scales each row to the sum that it had; where
nothing is left of a row, its largest entry gets all. That is the authors' code and no Euclidean projection: the scaling
may lead out of the box of width eps (.875 was seen at eps = .3).
"""
# E edges, O operations

from collections.abc import Mapping

import torch
from torch import Tensor

from ...errors import SupernetError
from ...network import Supernet
from ...network.freezing import frozen
from ...network.mixture import Mixture
from ..noise import Noise
from ..part import Clock
from ..parts import PERTURBATIONS, Perturbation
from ..problem import Problem

__all__ = ["PGD", "clip"]


@PERTURBATIONS.register("pgd")
class PGD(Perturbation):
    """`eps` and `eps_end` are 0 or more, `steps` of ascent 1 or more; .03, .3 and 7 are the authors'.

    Costs `steps` forward and backward passes, without gradients of the weights, and two more forward passes.
    """

    eps: Tensor
    traits = frozenset({"noise on p", "rows are distributions", "needs gradients of p"})

    def __init__(self, eps: float = 0.03, eps_end: float = 0.3, steps: int = 7) -> None:
        super().__init__()
        for name, value in (("eps", eps), ("eps_end", eps_end)):
            if value < 0:
                raise SupernetError(f"perturbation pgd: {name}={value} must be 0 or more")
        if steps < 1:
            raise SupernetError(f"perturbation pgd: steps={steps} must be 1 or more")
        self.first, self.last, self.steps = float(eps), float(eps_end), steps
        self.register_buffer("eps", torch.tensor(self.first), persistent=False)
        self._bound: list[tuple[Supernet, Noise]] = []  # in a list: neither is a part of this module

    def bind(self, net: Supernet, seed: int) -> None:
        self._bound = [(net, Noise(net.space.tables, seed, net.alphas()[0]))]
        self.to(net.alphas()[0].device)

    def prepare(self, clock: Clock) -> None:
        self.eps.fill_(self.first + (self.last - self.first) * clock.epoch / clock.epochs)
        ((_, noise),) = self._bound
        noise.fill(lambda uniform: 2 * uniform - 1, clock.step, "perturbation")

    def forward(self, problem: Problem) -> Mixture:
        """The mixture of this half with the worst p [E, O] that the ascent has met a table."""
        assert problem.mixture is not None
        ((net, noise),) = self._bound
        mixture = problem.mixture()
        tables = [table.name for table in net.space.tables]
        p = {name: mixture.p[net.sites.index(name)].detach() for name in tables}
        runs = {name: _runs(net.options.absent(name), p[name]) for name in tables}

        def mixed(q: Mapping[str, Tensor]) -> Mixture:
            sites = zip(net.sites, mixture.p, strict=True)
            return mixture._replace(p=tuple(q.get(site, other) for site, other in sites))

        def clipped(delta: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: clip(p[name] + delta[name], p[name], runs[name]) for name in tables}

        training = net.training
        net.eval()
        try:
            with frozen(problem.weights):
                before = _loss(problem, mixed(p))
                q = clipped({name: self.eps * noise.of("weights", name).to(p[name].dtype) for name in tables})
                for _ in range(self.steps):
                    leaves = {name: q[name].requires_grad_() for name in tables}
                    gradients = problem.gradient(problem.loss("train", mixed(leaves)), list(leaves.values()))
                    step = 2 * self.eps / self.steps
                    up = zip(tables, gradients, strict=True)
                    moved = {name: q[name].detach() + step * g.sign() for name, g in up}
                    q = clipped({name: (moved[name] - p[name]).clamp(-self.eps, self.eps) for name in tables})
                rose = _loss(problem, mixed(q)) >= before
        finally:
            net.train(training)
        return mixed({name: torch.where(rose, q[name], p[name]) for name in tables})


@torch.no_grad()
def clip(x_EO: Tensor, p_EO: Tensor, runs_EO: Tensor) -> Tensor:
    """x [E, O] cut to [0, 1] and to what runs, each row scaled to the sum of that of p [E, O]."""
    cut = x_EO.clamp(0, 1) * runs_EO
    largest = torch.zeros_like(cut).scatter_(
        -1, x_EO.masked_fill(~runs_EO, float("-inf")).argmax(dim=-1, keepdim=True), 1.0
    )
    some = torch.where(cut.sum(-1, keepdim=True) > 0, cut, largest)
    return some / some.sum(-1, keepdim=True) * p_EO.sum(-1, keepdim=True)


def _runs(absent_EO: Tensor | None, p_EO: Tensor) -> Tensor:
    """[E, O], true where a row has the option."""
    return torch.ones_like(p_EO, dtype=torch.bool) if absent_EO is None else ~absent_EO


@torch.no_grad()
def _loss(problem: Problem, mixture: Mixture) -> Tensor:
    """The training loss, a scalar, the same on every rank."""
    loss = problem.loss("train", mixture).detach().clone()
    if problem.reduce is not None:
        problem.reduce([loss])
    return loss
