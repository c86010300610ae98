"""The supernet: weights that all architectures of a space share, and alphas that weigh them.

    p = relaxation(alpha)            mixing weights, a distribution over the options of each row
    y = body(x, p, mask)             executors never see alphas

Alphas are parameters and so part of the state dict, one table [E, O] a name.
"""
# B batch, E edges, O operations

import inspect
import logging
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..arguments import check_arguments
from ..errors import SupernetError
from ..ops.channels_last import to_channels_last
from ..space.cells import CellSpace
from ..space.genotype import Genotype
from ..space.space import Space
from .discrete import build_from, shared_arguments
from .executor import make_executor
from .executor.registry import Mask
from .inherit import inherit
from .macro import Body, macro_of
from .macro.module import ModuleBody, decide
from .seeding import seeded

__all__ = ["Supernet"]

log = logging.getLogger(__name__)

ALPHA_SCALE = 1e-3  # standard deviation of the initial alphas (DARTS, the authors' code)


class Supernet(nn.Module):
    """The relaxed network of a space.

    `executor` is "reference", "torch", "cpu", "cuda" or "auto". `seed` draws weights and alphas (None: torch's global
    generator). Further arguments are the macro structure's: for DARTS channels, layers, num_classes, in_chans, stem,
    partial, checkpoint ... Raises SupernetError for arguments that it does not know.
    """

    def __init__(self, space: Space, *, executor: str = "auto", seed: int | None = None, **arguments: Any) -> None:
        super().__init__()
        if not isinstance(space, Space):
            raise SupernetError(f"Supernet takes a Space, not {space!r:.60}; use get_space(name) or Space(Net)")
        macro = macro_of(space)
        check_arguments(macro.relaxed, arguments, f"the {space.name!r} supernet")
        defaults = {
            k: v.default for k, v in inspect.signature(macro.relaxed).parameters.items() if v.kind is v.KEYWORD_ONLY
        }
        if not space.tables:
            raise SupernetError(
                f"space {space.name!r} has no trainable decision, and so no alphas; search it without gradients"
            )
        for name in space.groups:
            if "." in name or hasattr(nn.ParameterDict, name):
                raise SupernetError(f"decision {name!r} has a name that torch keeps for itself; name it otherwise")
        self.space, self.arguments = space, defaults | arguments
        self._masks = {table.name: table.mask for table in space.tables} | {
            name: (default,) for name, default in space.searchable.items()
        }
        with seeded(seed):
            self.body = macro.relaxed(space, make_executor(executor), **arguments)
            self.alpha = nn.ParameterDict()
            for table in space.tables:
                self.alpha[table.name] = nn.Parameter(ALPHA_SCALE * torch.randn(table.shape))
        for name, one in space.searchable.items():  # on the device, and no part of the state
            self.register_buffer(f"default_{name}", torch.tensor([one], dtype=torch.float32), persistent=False)
        for table in space.tables:
            if table.exists is not None:
                self.register_buffer(f"lacks_{table.name}", ~torch.tensor(table.exists), persistent=False)
        self.relaxation: Callable[[Tensor], Tensor] = softmax
        self._fixed: dict[str, tuple[Tensor, Mask]] | None = None
        if self.channels_last:
            to_channels_last(self)

    @property
    def channels_last(self) -> bool:
        """Whether the executor is fast in the channels_last memory format."""
        executor = cast(Body, self.body).executor
        return executor is not None and executor.channels_last

    def alphas(self) -> list[nn.Parameter]:
        """The architecture parameters, one [E, O] a table."""
        return list(self.alpha.values())

    def weights(self) -> list[nn.Parameter]:
        """All other parameters that learn; those that a user has frozen take no part."""
        return [p for p in self.body.parameters() if p.requires_grad]

    def mixing(self) -> dict[str, Tensor]:
        """P [E, O] of each table: of the activated genotype, else of the alphas; 0 for options that a row lacks.

        Decisions that are searched without alphas have theirs too: that of their default.
        """
        if self._fixed is not None:
            return {name: p for name, (p, _) in self._fixed.items()}
        default = {name: self.get_buffer(f"default_{name}") for name in self.space.searchable}
        return {name: self.relaxation(alpha) for name, alpha in self._existing().items()} | default

    def _existing(self) -> dict[str, Tensor]:
        """The alphas, -inf where a row lacks the option, so that a relaxation gives it the weight 0."""
        found: dict[str, Tensor] = {}
        for table in self.space.tables:
            alpha = self.alpha[table.name]
            if table.exists is not None:
                alpha = alpha.masked_fill(self.get_buffer(f"lacks_{table.name}"), float("-inf"))
            found[table.name] = alpha
        return found

    def forward(self, x: Tensor, p: Sequence[Tensor] | None = None) -> Tensor:
        """The network's output; `p` gives each site mixing weights of its own in place of the alphas'."""
        body = cast(Body, self.body)
        if self.channels_last and x.dim() == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        if p is None:
            tables = self.mixing()
            p = [tables[site] for site in body.sites]
        masks = {name: mask for name, (_, mask) in self._fixed.items()} if self._fixed else self._masks
        return body.run(x, p, [masks[site] for site in body.sites])

    def activate(self, genotype: Genotype) -> None:
        """Run only what `genotype` takes, with weight 1; raises GenotypeError where it is no point of the space."""
        fixed: dict[str, tuple[Tensor, Mask]] = {}
        active = self.space.active(genotype)
        for name, mask in self._masks.items():
            p = torch.zeros(len(mask), len(mask[0])).to(self.alphas()[0])
            for row, column in active[name]:
                p[row, column] = 1
            fixed[name] = p, tuple(tuple(row) for row in (p > 0).tolist())
        self._fixed = fixed

    def deactivate(self) -> None:
        """Go back to the alphas."""
        self._fixed = None

    def require_double_backward(self, who: str) -> None:
        """Take the executor `torch` where the present one cannot be differentiated twice, and log it."""
        if isinstance(self.body, ModuleBody):
            self.body.double_backward = True
            log.info("%s needs double backward: attention runs in its plain form", who)
            return
        body = cast(Body, self.body)
        if body.executor is not None and not body.executor.double_backward:
            log.info("%s needs double backward: executor=torch in place of %s", who, body.executor.name)
            body.executor = make_executor("torch")

    def strengths(self) -> dict[str, list[list[float]]]:
        """The relaxation of the alphas as plain numbers, for projections and logs."""
        return {name: self.relaxation(alpha.detach()).tolist() for name, alpha in self._existing().items()}

    def genotype(self) -> Genotype:
        """The space's own projection of the present strengths."""
        return self.space.project(self.strengths())

    def discretize(self, genotype: Genotype | None = None) -> tuple[nn.Module, Genotype]:
        """(plain network with the shared weights, genotype): of `genotype`, else of the present strengths.

        The network has the supernet's size and keeps the norms behind its pools, so it computes what the supernet does
        with this genotype activated; `build(genotype, ...)` makes the network that is retrained from scratch.
        """
        genotype = genotype or self.genotype()
        if isinstance(self.body, ModuleBody):
            return decide(self.body.net, self.space, genotype), genotype
        # The seed spares torch's generator, from which the draws of a search go on; the weights are overwritten.
        net = build_from(self.space, genotype, seed=0, **shared_arguments(self.space, self.arguments))
        net.to(self.alphas()[0])  # its device and type, before weights are copied: after it they would be rounded
        inherit(self.body, net, cast(CellSpace, self.space), genotype)
        return net.train(self.training), genotype


def softmax(alpha: Tensor) -> Tensor:
    """The mixing weights p = softmax(alpha) over the options of each row (DARTS, equation 2)."""
    return torch.softmax(alpha, dim=-1)
