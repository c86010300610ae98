"""What a macro structure of cells asks of a space."""

from collections.abc import Sequence

from ...errors import SupernetError
from ...space.cells import CellSpace
from ...space.space import Space

__all__ = ["require_cells"]


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
