"""A space as YAML text that reads back to an equal space."""

from collections.abc import Callable
from functools import partial
from inspect import signature
from typing import TYPE_CHECKING

from ...errors import SupernetError
from ..genotype import Genotype
from ..space import Space
from .cells import write_cells
from .classes import path_of
from .document import SCHEMA
from .factories import factory_path
from .network import NetworkForm
from .strict import write_yaml
from .tree import write_tree

if TYPE_CHECKING:
    from torch import nn

__all__ = ["write_space"]


def write_space(space: Space) -> str:
    """The YAML form of `space`: cells, a network in the language, a class by its import path, or a bare tree.

    A rule of one's own for equal networks (`canonical`) is code and is not written. Raises SupernetError for a network
    of Python code that has no import path, such as a class inside a function.
    """
    args = Genotype(space.name, {}, args=space.args).args
    header: dict[str, object] = {"schema": SCHEMA, "name": space.name, "version": space.version}
    return write_yaml(header | ({"args": dict(args)} if args else {}) | _body(space))


def _body(space: Space) -> dict[str, object]:
    if isinstance(space.factory, NetworkForm):
        return {"network": dict(space.factory.document)}
    if (form := getattr(space.factory, "written_form", None)) is not None:  # a wrapped network
        return dict(form())
    if space.factory is not None:
        return _class(space, space.factory)
    cells = write_cells(space)
    if cells is not None:
        return {"cells": cells}
    if space.macro:
        raise SupernetError(f"space {space.name!r} of the class {type(space).__name__} has no YAML form")
    return {"decisions": write_tree(space.root)}


def _class(space: Space, factory: "Callable[..., nn.Module]") -> dict[str, object]:
    if registered := factory_path(space):
        return {"class": registered, "decisions": write_tree(space.root)}
    bound = factory if isinstance(factory, partial) else partial(factory)
    path = path_of(bound.func)
    if not path:
        raise SupernetError(
            f"the network of space {space.name!r} is no class with an import path; its YAML form needs one: put the "
            "class at the top of a module"
        )
    bound_arguments = signature(bound.func).bind_partial(*bound.args, **bound.keywords).arguments
    try:
        arguments = dict(Genotype("x", {}, args=bound_arguments).args)
    except SupernetError as error:
        raise SupernetError(f"the arguments of {path} cannot be written as YAML: {error}") from None
    return {"class": path} | ({"arguments": arguments} if arguments else {}) | {"decisions": write_tree(space.root)}
