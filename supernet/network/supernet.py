"""The supernet: weights that all architectures of a space share, and alphas that weigh them.

    p = relaxation(alpha, table)         mixing weights, a distribution over the options of each row
    y = body.run(x, Mixture(p, mask))    a body never sees alphas

Alphas are parameters and so part of the state dict, one table [E, O] a name.
"""
# B batch, E edges, O operations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Self

import torch
from torch import Tensor, nn

from ..arguments import check_arguments
from ..errors import SupernetError
from ..ops.channels_last import to_channels_last
from ..space.genotype import Genotype
from ..space.space import Space, Table
from .bounded import bounded
from .connector import EdgeConnector, Observer
from .executor import make_executor
from .macro import Body, macro_of
from .mixture import HostMask, Mask, Mixture, mixture_of
from .options import Options
from .seeding import seeded

__all__ = ["Relaxation", "Supernet", "softmax"]

Relaxation = Callable[[Tensor, Table], Tensor]
ALPHA_SCALE = 1e-3  # standard deviation of the initial alphas (DARTS, the authors' code)


class Supernet(nn.Module):
    """The relaxed network of a space.

    `executor` is "reference", "torch", "cpu", "cuda" or "auto". `seed` draws weights and alphas (None: torch's global
    generator). Further arguments are the macro structure's: for DARTS channels, layers, num_classes, in_chans, stem,
    partial, checkpoint ... Raises SupernetError for arguments that it does not know.
    """

    body: Body
    relaxation: Relaxation  # of alphas [E, O], -inf where a row lacks the option, and their table: p [E, O]

    def __init__(self, space: Space, *, executor: str = "auto", seed: int | None = None, **arguments: object) -> None:
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
        with seeded(seed), bounded(space):
            self.body = macro.relaxed(space, make_executor(executor), **arguments)
            self.alpha = nn.ParameterDict()
            for table in space.tables:
                self.alpha[table.name] = nn.Parameter(ALPHA_SCALE * torch.randn(table.shape))
        self.options = Options(space)
        self.relaxation = softmax
        self._connectors: tuple[EdgeConnector, ...] = ()
        self._activated: dict[str, tuple[Tensor, HostMask]] | None = None
        self._attached: dict[tuple[str, int, int], nn.Parameter] = {}
        if self.channels_last:
            to_channels_last(self)

    @property
    def sites(self) -> tuple[str, ...]:
        """The name of the table of each place where mixing weights enter: a cell, or a choice."""
        return self.body.sites

    @property
    def channels_last(self) -> bool:
        """Whether the executor is fast in the channels_last memory format."""
        executor = self.body.executor
        return executor is not None and executor.channels_last

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "relaxation":  # a method's, with a state of its own, where it is a module at all
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def alphas(self) -> list[nn.Parameter]:
        """The architecture parameters, one [E, O] a table."""
        return list(self.alpha.values())

    def weights(self) -> list[nn.Parameter]:
        """All other parameters that learn, of any shapes; those that a user has frozen take no part."""
        return [p for p in self.body.parameters() if p.requires_grad]

    def parameters_of(self, site: int, row: int, column: int) -> list[nn.Parameter]:
        """The weights, of any shapes, of one operation on one edge of one cell, or of one option; there may be none.

        `site` counts in `sites`. What a part of a method has attached is among them. Raises SupernetError where nothing
        stands there.
        """
        own = self.body.parameters_of(site, row, column)
        attached = self._attached.get((self.sites[site], row, column))
        return own if attached is None else [*own, attached]

    def attach(self, table: str, row: int, column: int, weight: nn.Parameter) -> None:
        """Counts `weight`, of any shape, among the weights of an option, at every site of its table.

        It lives and learns in the part of a method that has made it.
        """
        self._attached[table, row, column] = weight

    def mixing(self) -> dict[str, Tensor]:
        """The p [E, O] of each table: of the activated genotype, else of the alphas; 0 for what a row lacks.

        Decisions that are searched without alphas have theirs too, [1, O]: that of their default.
        """
        if self._activated is not None:
            return {name: p for name, (p, _) in self._activated.items()}
        return self._relaxed(dict(self.alpha.items())) | self.options.default_p()

    def _relaxed(self, alphas: Mapping[str, Tensor]) -> dict[str, Tensor]:
        masked = self.options.masked(alphas)
        return {table.name: self.relaxation(masked[table.name], table) for table in self.options.tables}

    def masks(self) -> dict[str, HostMask]:
        """What may run of each table, [E][O]: of the activated genotype, else what exists and was not pruned."""
        if self._activated is not None:
            return {name: mask for name, (_, mask) in self._activated.items()}
        return self.options.masks()

    def mixture(self, p: Mapping[str, Tensor] | None = None, gates: Mapping[str, Mask] | None = None) -> Mixture:
        """What a pass runs, of tables brought to their sites.

        `p` has the mixing weights [E, O] of each table, in place of `mixing()`; decisions without alphas that it lacks
        take their default. `gates` has masks [E, O] of some tables in place of those of `masks()`: tuples, or tensors
        of zeros and ones that are read on the device.
        """
        p = self.mixing() if p is None else self.options.default_p() | dict(p)
        return mixture_of(self.sites, p, {**self.masks(), **(gates or {})})

    def forward(self, x: Tensor, mixture: Mixture | None = None) -> Tensor:
        """The network's output for a batch `x` [B, ...], under a mixture of its own or that of the alphas."""
        if self.channels_last and x.dim() == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        return self.body.run(x, self.mixture() if mixture is None else mixture)

    def activate(self, genotype: Genotype) -> None:
        """Run only what `genotype` takes, with weight 1; raises GenotypeError where it is no point of the space."""
        activated: dict[str, tuple[Tensor, HostMask]] = {}
        active = self.space.active(genotype)
        for name, mask in self.options.masks().items():
            p = torch.zeros(len(mask), len(mask[0])).to(self.alphas()[0])
            for row, column in active[name]:
                p[row, column] = 1
            activated[name] = p, tuple(tuple(row) for row in (p > 0).tolist())
        self._activated = activated

    def deactivate(self) -> None:
        """Go back to the alphas."""
        self._activated = None

    def prune(self, masks: Mapping[str, HostMask]) -> None:
        """Take away, for good, what is False in the masks [E][O] of some tables.

        It has p = 0, does not run and is in no genotype; the state dict keeps it. Raises SupernetError where a row
        would be left without any option, or the space without any architecture.
        """
        self.options.prune(masks)

    def connect(self, connectors: Sequence[EdgeConnector]) -> None:
        """Attach edge connectors (connector.py) in place of the present ones; () removes them.

        Raises SupernetError where the executor cannot serve them, or the network has no mixed edges.
        """
        self.body.connect(connectors)
        self._connectors = tuple(connectors)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Training or evaluation mode, for the edge connectors that are modules too."""
        super().train(mode)
        for connector in self._connectors:
            if isinstance(connector, nn.Module):
                connector.train(mode)
        return self

    def observe(self, observers: Sequence[Observer]) -> None:
        """Attach observers of mixed edges in place of the present ones; () removes them. Raises as `connect` does."""
        self.body.observe(observers)

    @contextmanager
    def observing(self, observer: Observer) -> Iterator[None]:
        """Inside, `observer` looks on as well, by the executor `torch`; afterwards all is as before."""
        before = self.body.observers
        with self.executing("torch"):
            self.observe((*before, observer))
            try:
                yield
            finally:
                self.observe(before)

    def use(self, executor: str) -> None:
        """Run by `executor` from now on; raises SupernetError where it is unknown or cannot serve."""
        self.body.use(executor)

    def executing(self, name: str) -> AbstractContextManager[None]:
        """Inside, the network runs by the executor `name`, and afterwards as before; raises as `use` does."""
        return self.body.executing(name)

    def require_double_backward(self, who: str) -> None:
        """From now on the output can be differentiated twice; where that takes another executor, it is logged."""
        self.body.require_double_backward(who)

    def strengths(self) -> dict[str, list[list[float]]]:
        """The relaxation of the alphas as plain numbers [E][O], for projections and logs."""
        detached = {name: alpha.detach() for name, alpha in self.alpha.items()}
        return {name: p.tolist() for name, p in self._relaxed(detached).items()}

    def genotype(self) -> Genotype:
        """The space's own projection of the present strengths, without what was pruned."""
        return self.space.project(self.options.ranked(self.strengths()))

    def discretize(self, genotype: Genotype | None = None) -> tuple[nn.Module, Genotype]:
        """(plain network with the shared weights, genotype): of `genotype`, else of the present strengths.

        The network has the supernet's size and keeps the norms behind its pools, so it computes what the supernet does
        with this genotype activated; `build(genotype, ...)` makes the network that is retrained from scratch.
        """
        genotype = genotype or self.genotype()
        return self.body.decide(self.space, genotype, self.arguments), genotype


def softmax(alpha: Tensor, _: Table | None = None) -> Tensor:
    """The mixing weights p = softmax(alpha) [E, O] over the options of each row (DARTS, equation 2)."""
    return torch.softmax(alpha, dim=-1)
