"""The body `cells`: a space of cells by its family and sizes, as the classes in `..cells` take them.

cells:
  family: top_k                       each node keeps `keep` edges; every_edge: each edge has an operation;
  macro: darts                        pairs: each node adds two terms
  kinds: [normal, reduce]
  reductions: [reduce]
  inputs: 2
  nodes: 4
  keep: 2
  operations: [none, ...]             the columns of the tables
  offered: {normal: {0-2: [...]}}     edges that offer only some of them
"""

from collections.abc import Mapping

from ...errors import SupernetError
from ..cells import CellArguments, CellSpace, EdgeCells, NasnetCells, TopKCells
from ..space import Space
from .fields import FormError, Header, brief, fields, name, one_of, whole

__all__ = ["read_cells", "write_cells"]

_FAMILIES: dict[str, type[CellSpace]] = {"every_edge": EdgeCells, "pairs": NasnetCells, "top_k": TopKCells}
_REQUIRED = ("family", "macro", "kinds", "inputs", "nodes", "operations")


def read_cells(data: object, header: Header) -> Space:
    """The space of the body `data`; `header` has name, version and args."""
    own = fields(data, "cells", {*_REQUIRED, "reductions", "keep", "offered"}, required=_REQUIRED)
    family = _FAMILIES[one_of(own["family"], "cells.family", _FAMILIES)]
    shared: CellArguments = {
        "kinds": _names(own["kinds"], "cells.kinds"),
        "reductions": _names(own.get("reductions", []), "cells.reductions"),
        "inputs": whole(own["inputs"], "cells.inputs", 1, 8),
        "nodes": whole(own["nodes"], "cells.nodes", 1, 12),
        "operations": _names(own["operations"], "cells.operations"),
        "macro": name(own["macro"], "cells.macro"),
        "version": header["version"],
    }
    k = whole(own.get("keep"), "cells.keep", 1, 12) if family is TopKCells else None
    if k is None and "keep" in own:
        raise FormError("cells.keep: only the family top_k keeps some of its edges")
    if "offered" in own:
        if family is NasnetCells:
            raise FormError("cells.offered: the family pairs offers every operation everywhere")
        shared["offered"] = _offered(own["offered"])
    try:
        if k is not None:
            return TopKCells(header["name"], header["args"], k=k, **shared)
        return family(header["name"], header["args"], **shared)
    except SupernetError as error:
        raise FormError(f"cells: {error}") from None


def write_cells(space: Space) -> dict[str, object] | None:
    """The body of a space of cells; None where it is none of these families."""
    families = [key for key, family in _FAMILIES.items() if type(space) is family]
    if not families or not isinstance(space, CellSpace):
        return None
    own = {
        "family": families[0],
        "macro": space.macro,
        "kinds": list(space.kinds),
        "reductions": list(space.reductions),
        "inputs": space.inputs,
        "nodes": space.nodes,
        "keep": getattr(space, "k", None),
        "operations": list(space.operations),
        "offered": _fewer(space),
    }
    return {key: value for key, value in own.items() if value is not None and value not in ([], {})}


def _fewer(space: CellSpace) -> dict[str, dict[str, list[str]]]:
    """The edges that do not offer every operation."""
    fewer: dict[str, dict[str, list[str]]] = {}
    for kind in space.kinds:
        for edge in space.edges:
            if (here := space.offered(kind, edge)) != space.operations:
                fewer.setdefault(kind, {})[edge.name] = list(here)
    return fewer


def _offered(value: object) -> dict[str, dict[str, tuple[str, ...]]]:
    where = "cells.offered"
    offered = {}
    for kind, edges in fields(value, where, value if isinstance(value, Mapping) else ()).items():
        own = fields(edges, f"{where}.{kind}", edges if isinstance(edges, Mapping) else ())
        offered[kind] = {edge: _names(ops, f"{where}.{kind}.{edge}") for edge, ops in own.items()}
    return offered


def _names(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > 100:
        raise FormError(f"{where}: {brief(value)} must be a list of names")
    return tuple(name(item, where) for item in value)
