"""What may be attached to the mixed edges of cells: connectors, which change an edge, and observers, which only look.

    outputs = {operation: operation(x)}                 of those that run, without `none`
    observer.observe(edge, outputs)                     each observer
    outputs = connector(edge, x, outputs)               each connector, in their order
    edge(x) = sum over operations of p[operation] * outputs[operation], and outputs[AUXILIARY] where there is one

Executors that never form single outputs cannot serve either.
"""
# B batch, C channels, H height, W width

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from ..errors import SupernetError, unknown

__all__ = ["AUXILIARY", "AUXILIARY_COLUMN", "EdgeConnector", "EdgeHooks", "EdgeSite", "Observer", "name_of"]


AUXILIARY = "auxiliary"  # the name of an output that no operation gives: it enters with the weight 1
AUXILIARY_COLUMN = -1


@dataclass(frozen=True)
class EdgeSite:
    """One edge of one cell. States are numbered with the cell's inputs first, as in `space.cells.Edge`."""

    site: int  # index in `Body.sites`
    table: str
    row: int  # of the table
    source: int  # the state that it leaves
    node: int  # the state that it enters
    stride: int


class EdgeConnector(Protocol):
    """Changes what one mixed edge computes: dropout and noise on skips, an auxiliary module, attention on channels."""

    def __call__(self, edge: EdgeSite, x: Tensor, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """The outputs [B, C, H', W'] to be weighed by p and summed, by the names of operations.

        `x` [B, C, H, W] is what the edge's operations read: with partial channels the first 1 / k of them. `outputs`
        [B, C, H', W'] are theirs; edges may share such a tensor, so nothing is written in place. What it gives back
        under the name AUXILIARY, of the same shape, is added to the sum as it is.
        """
        ...


@runtime_checkable
class Observer(Protocol):
    """Looks at what the operations of mixed edges give."""

    def observe(self, edge: EdgeSite, outputs: Mapping[str, Tensor]) -> None:
        """Called at each pass, with the outputs [B, C, H, W] of the operations that run, before any connector."""
        ...


class EdgeHooks:
    """The connectors and observers of one cell; executors call it for each edge. `edges` has one entry a row."""

    def __init__(
        self,
        edges: Sequence[EdgeSite],
        names: Sequence[str],
        connectors: Sequence[EdgeConnector],
        observers: Sequence[Observer],
    ) -> None:
        self.edges, self.names = tuple(edges), tuple(names)
        self.connectors, self.observers = tuple(connectors), tuple(observers)
        self._columns = {AUXILIARY: AUXILIARY_COLUMN} | {name: column for column, name in enumerate(self.names)}

    def __call__(self, row: int, x: Tensor, outputs: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """The outputs [B, C, H', W'] to be summed, by column, of the operations' on the edge of `row` and its `x`.

        One in AUXILIARY_COLUMN has the weight 1. Raises SupernetError where a connector gives an output for what is no
        operation of the table.
        """
        edge = self.edges[row]
        named = {self.names[column]: y for column, y in outputs.items()}
        for observer in self.observers:
            observer.observe(edge, named)
        for connector in self.connectors:
            named = connector(edge, x, named)
        for name in named:
            if name not in self._columns:
                raise SupernetError(unknown("operation in the outputs of an edge connector:", name, self.names))
        return {self._columns[name]: y for name, y in named.items()}


def name_of(hook: object) -> str:
    """What a message calls a connector or an observer."""
    return getattr(hook, "__name__", type(hook).__name__)
