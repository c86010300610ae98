"""DARTS' named tuple as text (https://github.com/quark0/darts), flat, or nested by node as in pt.darts.

    Genotype(normal=[('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ...], normal_concat=range(2, 6), reduce=[...], ...)
    Genotype(normal=[[('sep_conv_3x3', 1), ('sep_conv_3x3', 0)], ...], ...)

Terms stand in node order, two a node; an input counts the cell's inputs first. confopt and P-DARTS write the same.
"""

from ...errors import GenotypeError
from ..genotype import Genotype
from .form import FORMS, Call, Value, cells_genotype

__all__ = ["fits", "read"]


def fits(value: Value) -> bool:
    return isinstance(value, Call) and {"normal", "reduce"} <= set(value.values)


def read(value: Value) -> Genotype:
    """The genotype of a call; raises GenotypeError for what is no term, and for a cell that joins only some nodes."""
    assert isinstance(value, Call)
    cells = {kind: _nodes(value.values[kind], kind) for kind in ("normal", "reduce")}
    for kind, nodes in cells.items():
        joined = value.values.get(f"{kind}_concat")
        every = list(range(2, 2 + len(nodes)))
        if joined is not None and joined != every:
            raise GenotypeError(f"{kind}_concat={joined} joins other states than {every}, which the space darts joins")
    return cells_genotype(cells)


def _nodes(value: Value, kind: str) -> list[list[tuple[str, int]]]:
    if not isinstance(value, list) or not value:
        raise GenotypeError(f"{kind} is no list of terms")
    if all(isinstance(node, list) and node and isinstance(node[0], list) for node in value):
        return [[_term(term, kind) for term in node] for node in value if isinstance(node, list)]
    terms = [_term(term, kind) for term in value]
    if len(terms) % 2:
        raise GenotypeError(f"{kind} has {len(terms)} terms, and each node takes two")
    return [terms[i : i + 2] for i in range(0, len(terms), 2)]


def _term(value: Value, kind: str) -> tuple[str, int]:
    if isinstance(value, list) and len(value) == 2:
        operation, source = value
        if isinstance(operation, str) and isinstance(source, int):
            return operation, source
    raise GenotypeError(f"{kind} has {str(value)[:60]}, which is no pair (operation, input)")


FORMS.register("darts")((fits, read))
