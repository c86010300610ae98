"""What macro structures of cells have in common: what they ask of a space, and how a body runs a mixed cell."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from ...errors import SupernetError
from ...space.cells import CellSpace
from ...space.space import Space
from ..cell import MixedCell
from ..checkpointing import checkpointed
from ..executor import Executor
from ..executor.registry import Mask

__all__ = ["require_cells", "run_mixed"]


class _Body(Protocol):
    executor: Executor
    checkpoint: bool


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


def run_mixed(body: _Body, cell: MixedCell, states: Sequence[Tensor], p: Tensor, mask: Mask) -> Tensor:
    """The cell's output by the body's executor, with the cell's inside kept for the backward or computed again."""
    if body.checkpoint:
        return checkpointed(body.executor, cell, states, cell, p, mask)
    return body.executor(states, cell, p, mask)
