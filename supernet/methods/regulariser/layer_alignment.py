"""Cells of one kind agree on which operations matter (Lambda-DARTS; Movahedi et al., arXiv:2210.07998, section 4).

g_l = dL_train/dp of cell l,   u = g / |g|,   Lambda = 2 / (n (n - 1)) sum over i < j of u_i . u_j      (corr)
                               in place of u_i . u_j:  c / b = g_i . g_j / |g_i| . |g_j|                (signcorr)
d_l = dLambda/dg_l,   eps = eps0 / |all d|
grad_w  <-  grad_w + lambda(e) [grad_w L_train(p - eps d) - grad_w L_train(p + eps d)] / (2 eps)
lambda(e) = factor * e / (T - 1)

So the weights go up Lambda: what the difference estimates is -lambda dLambda/dw. All cells of a kind read one table of
alphas; where their gradients by p point apart, the cells near the output decide alone, and they favour skips. The
gradients g are those of the weights' own pass, so that it costs two passes more. Of the authors' two scores `corr` is
taken where nothing is said. Their code sets d of reduction cells to 0, which `without` does; here the score has no part
of those tables either. Their defaults are factor .125 and eps0 1e-4, their scripts have .25 and 1e-3.
"""
# E edges, O operations, L cells

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...errors import SupernetError, unknown
from ...network import Supernet
from ...network.freezing import batch_norms, frozen, frozen_statistics
from ..part import Clock
from ..parts import REGULARISERS, Regulariser
from ..problem import Problem
from ..ramp import line

__all__ = ["LayerAlignment", "alignment_slopes"]

SCORES = ("corr", "signcorr")


@REGULARISERS.register("layer_alignment")
class LayerAlignment(Regulariser):
    """`factor` and `eps` (eps0 above) are 0 or more and above 0; `score` is corr or signcorr.

    `without` names tables whose cells are left alone.
    """

    factor: Tensor
    needs_slopes = True
    repeats = True
    traits = frozenset({"needs gradients of p", "follows the sign of gradients"})

    def __init__(
        self, factor: float = 0.125, eps: float = 1e-4, score: str = "corr", without: tuple[str, ...] = ("reduce",)
    ) -> None:
        super().__init__()
        if factor < 0:
            raise SupernetError(f"layer_alignment: factor={factor} must be 0 or more")
        if eps <= 0:
            raise SupernetError(f"layer_alignment: eps={eps} must be above 0")
        if score not in SCORES:
            raise SupernetError(unknown("score of layer_alignment", score, SCORES))
        self.most, self.eps, self.score, self.without = float(factor), float(eps), score, tuple(without)
        self.register_buffer("factor", torch.zeros(()), persistent=False)
        self._groups: list[list[int]] = []  # the sites of each table
        self._norms: list[tuple[Supernet, list[nn.Module]]] = []  # in a list: the network is no part of this module

    def bind(self, net: Supernet, seed: int) -> None:
        """Raises SupernetError where no table is read by two cells."""
        names = [table.name for table in net.space.tables if table.name not in self.without]
        sites = [[number for number, site in enumerate(net.sites) if site == name] for name in names]
        self._groups, self._norms = [group for group in sites if len(group) > 1], [(net, batch_norms(net))]
        if not self._groups:
            left_out = f", without={list(self.without)}" if self.without else ""
            raise SupernetError(
                "method.regularisers=layer_alignment compares cells that read one table of alphas, and this network of "
                f"space {net.space.name!r} has no two of them{left_out}; take more cells or another regulariser"
            )
        self.to(net.alphas()[0].device)

    def prepare(self, clock: Clock) -> None:
        self.factor.fill_(line(0.0, self.most, clock))

    def weights(self, problem: Problem) -> Sequence[Tensor] | None:
        """-lambda dLambda/dw by a difference of two passes, in the shapes of the weights."""
        assert problem.mixture is not None
        assert problem.slopes is not None
        mixture = problem.mixture()
        directions: dict[int, Tensor] = {}
        for sites in self._groups:
            slopes_LEO = torch.stack([problem.slopes[site] for site in sites])
            directions |= dict(zip(sites, alignment_slopes(slopes_LEO, self.score), strict=True))
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(d) for d in directions.values()]))
        eps = self.eps / norm.clamp_min(torch.finfo(norm.dtype).tiny)
        sides = []
        with frozen(problem.alphas), frozen_statistics(*self._norms[0]):
            for sign in (-1, 1):
                p = [
                    q.detach() + sign * eps * directions[site] if site in directions else q.detach()
                    for site, q in enumerate(mixture.p)
                ]
                loss = problem.loss("train", mixture._replace(p=tuple(p)))
                sides.append(problem.gradient(loss, problem.weights))
        factor = self.factor.to(eps.dtype) / (2 * eps)
        return [factor.to(minus.dtype) * (minus - plus) for minus, plus in zip(*sides, strict=True)]


@torch.no_grad()
def alignment_slopes(slopes_LEO: Tensor, score: str) -> Tensor:
    """dLambda/dg [L, E, O] of the gradients g [L, E, O] of cells of one kind; 0 for a cell without a gradient."""
    g_LN = slopes_LEO.flatten(1)
    cells, least = len(g_LN), torch.finfo(g_LN.dtype).tiny
    pairs = 2 / (cells * (cells - 1))
    if score == "corr":
        norm_L1 = torch.linalg.vector_norm(g_LN, dim=1, keepdim=True).clamp_min(least)
        u_LN = g_LN / norm_L1
        others_LN = u_LN.sum(0) - u_LN
        along_L1 = (u_LN * others_LN).sum(1, keepdim=True)
        return (pairs / norm_L1 * (others_LN - along_L1 * u_LN)).view_as(slopes_LEO)
    size_LN, sign_LN = g_LN.abs(), g_LN.sign()
    b_LL = (size_LN @ size_LN.T).clamp_min(least)
    one_LL = (1 - torch.eye(cells, dtype=g_LN.dtype, device=g_LN.device)) / b_LL
    ratio_LL = one_LL * (g_LN @ g_LN.T) / b_LL
    return (pairs * (one_LL @ g_LN - sign_LN * (ratio_LL @ size_LN))).view_as(slopes_LEO)
