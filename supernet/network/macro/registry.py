"""The registry of macro structures: for each, the relaxed body and the discrete network of a space."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from ...errors import SupernetError
from ...registry import Registry
from ...space.space import Space
from ..body import Body
from .frame import FrameOf

__all__ = ["MACROS", "Body", "Macro", "macro_of"]


@dataclass(frozen=True)
class Macro:
    """Both networks of a macro structure; their keyword arguments are checked against these functions' signatures.

    `frame` says what stands around the cells, so that costs are known without building networks. A structure without
    cells has None: single networks are then counted as a whole, and a user's own relaxed network by its modules.
    """

    relaxed: Callable[..., Body]  # (space, executor, **arguments)
    discrete: Callable[..., nn.Module]  # (space, genotype, **arguments) -> plain network
    frame: FrameOf | None
    of: "Callable[[Space], Macro] | None" = None  # both for one space, where their arguments differ from space to space


MACROS: Registry[Macro] = Registry("macro")


def macro_of(space: Space) -> Macro:
    """The macro structure of `space`; raises SupernetError for a bare tree, which has none."""
    if not space.macro:
        raise SupernetError(f"space {space.name!r} is a bare tree of decisions: it has no network")
    macro = MACROS[space.macro]
    return macro.of(space) if macro.of is not None else macro
