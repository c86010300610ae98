"""What macro structures of cells have in common: what they ask of a space, and the base of their relaxed bodies."""
# B batch, C channels, H height, W width, E edges, O operations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

from ...errors import SupernetError
from ...space.cells import CellSpace
from ...space.genotype import Genotype
from ...space.space import Space
from ..body import Body
from ..cells.cell import MixedCell
from ..cells.checkpointing import checkpointed
from ..connector import EdgeConnector, EdgeHooks, Observer
from ..executor import Executor, make_executor
from ..executor.registry import refuse_hooks
from ..inherit import inherit
from ..mixture import Mask
from .discrete import build_from, shared_arguments

__all__ = ["CellBody", "require_cells"]

log = logging.getLogger(__name__)


def require_cells(space: Space, macro: str, kinds: Sequence[str], *, inputs: int) -> CellSpace:
    """`space`, which must have cells of these `kinds` with `inputs` input states; raises SupernetError."""
    if not isinstance(space, CellSpace):
        raise SupernetError(f"space {space.name!r} has no cells, so it cannot have the macro structure {macro!r}")
    if sorted(space.kinds) != sorted(kinds) or space.inputs != inputs:
        raise SupernetError(
            f"space {space.name!r} has cells {list(space.kinds)} of {space.inputs} inputs; "
            f"the macro structure {macro!r} takes {list(kinds)} of {inputs}"
        )
    return space


class CellBody(Body):
    """A relaxed network of mixed cells, which stand among `cells` in the order of `sites`.

    `checkpoint` computes the inside of each cell again in the backward (checkpointing.py).
    """

    cells: nn.ModuleList

    def __init__(self, executor: Executor, checkpoint: bool) -> None:
        super().__init__()
        self._executor, self.checkpoint = executor, checkpoint
        self._connectors: tuple[EdgeConnector, ...] = ()
        self._observers: tuple[Observer, ...] = ()

    @property
    def executor(self) -> Executor:
        return self._executor

    @property
    def observers(self) -> tuple[Observer, ...]:
        return self._observers

    @property
    def mixed(self) -> list[MixedCell]:
        """The mixed cells, one a site."""
        return [cell for cell in self.cells if isinstance(cell, MixedCell)]

    def run_cell(self, cell: MixedCell, states: Sequence[Tensor], p: Tensor, mask: Mask) -> Tensor:
        """The output [B, C', H', W'] of a cell for its input states [B, C, H, W]; `p` and `mask` are [E, O].

        The cell's inside is kept for the backward, or with `checkpoint` computed again there.
        """
        if self.checkpoint:
            return checkpointed(self._executor, cell, states, cell, p, mask)
        return self._executor(states, cell, p, mask)

    def decide(self, space: Space, genotype: Genotype, arguments: Mapping[str, object]) -> nn.Module:
        # The seed spares torch's generator, from which the draws of a search go on; the weights are overwritten.
        net = build_from(space, genotype, seed=0, **shared_arguments(space, arguments))
        net.to(next(self.parameters()))  # device and type, before weights are copied: after it they would be rounded
        assert isinstance(space, CellSpace)
        inherit(self, net, space, genotype)
        return net.train(self.training)

    def parameters_of(self, site: int, row: int, column: int) -> list[nn.Parameter]:
        """The weights, of any shapes, of one operation on one edge of one cell; none where it has no weights.

        Raises SupernetError where there is no such operation.
        """
        cells = self.mixed
        if 0 <= site < len(cells) and 0 <= row < len(cells[site].edges):
            operation = dict(cells[site].operations(row)).get(column)
            if operation is not None:
                return list(operation.parameters())
        raise SupernetError(f"there is no operation in column {column} on row {row} of site {site}")

    def use(self, name: str) -> None:
        executor = make_executor(name)
        if not executor.serves_hooks:
            refuse_hooks(name, self._hooks_of(0, self.mixed[0]))
        self._executor = executor

    @contextmanager
    def executing(self, name: str) -> Iterator[None]:
        before = self._executor
        self.use(name)
        try:
            yield
        finally:
            self._executor = before

    def require_double_backward(self, who: str) -> None:
        if not self._executor.double_backward:
            log.info("%s needs double backward: executor=torch in place of %s", who, self._executor.name)
            self.use("torch")

    def connect(self, connectors: Sequence[EdgeConnector]) -> None:
        self._attach(tuple(connectors), self._observers)

    def observe(self, observers: Sequence[Observer]) -> None:
        self._attach(self._connectors, tuple(observers))

    def _attach(self, connectors: tuple[EdgeConnector, ...], observers: tuple[Observer, ...]) -> None:
        before = self._connectors, self._observers
        self._connectors, self._observers = connectors, observers
        hooks = [self._hooks_of(site, cell) for site, cell in enumerate(self.mixed)]
        if not self._executor.serves_hooks and hooks[0] is not None:
            self._connectors, self._observers = before
            refuse_hooks(self._executor.name, hooks[0])
        for cell, cell_hooks in zip(self.mixed, hooks, strict=True):
            cell.hooks = cell_hooks

    def _hooks_of(self, site: int, cell: MixedCell) -> EdgeHooks | None:
        if not (self._connectors or self._observers):
            return None
        return EdgeHooks(cell.edge_sites(site), cell.names, self._connectors, self._observers)
