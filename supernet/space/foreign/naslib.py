"""NASLib's compact forms (https://github.com/automl/NASLib), by operation numbers.

(2, 0, 3, 1, 2, 4)                                  NAS-Bench-201: edges 1-2, 1-3, 1-4, 2-3, 2-4, 3-4
(((0, 3), (1, 3), ...), ((0, 0), ...))              DARTS: normal and reduce cell, (input, operation) in node order
"""

from ...errors import GenotypeError
from ..genotype import Genotype
from .form import FORMS, Value, cells_genotype

__all__ = ["fits", "read"]

# The order of NASLib's operations in either space.
OF_BENCH = ("skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")
OF_DARTS = (
    "max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5",
)  # fmt: skip
EDGES = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))


def fits(value: Value) -> bool:
    if not isinstance(value, list) or len(value) not in (2, 6):
        return False
    if len(value) == 6:
        return all(isinstance(item, int) for item in value)
    return all(isinstance(cell, list) and all(isinstance(term, list) for term in cell) for cell in value)


def read(value: Value) -> Genotype:
    """The point; raises GenotypeError for a number that stands for no operation."""
    from ..registry import get_space

    assert isinstance(value, list)
    if len(value) == 6:
        named = (_named(number, OF_BENCH) for number in value)
        decisions = {f"cell/{i}-{j}": name for (i, j), name in zip(EDGES, named, strict=True)}
        return get_space("nasbench201").genotype(decisions)
    return cells_genotype({kind: _nodes(cell) for kind, cell in zip(("normal", "reduce"), value, strict=True)})


def _nodes(cell: Value) -> list[list[tuple[str, int]]]:
    assert isinstance(cell, list)
    terms: list[tuple[str, int]] = []
    for term in cell:
        if not (isinstance(term, list) and len(term) == 2 and isinstance(term[0], int)):
            raise GenotypeError(f"{str(term)[:60]} is no pair (input, operation number)")
        terms.append((_named(term[1], OF_DARTS), term[0]))
    return [terms[i : i + 2] for i in range(0, len(terms), 2)]


def _named(number: Value, names: tuple[str, ...]) -> str:
    if not isinstance(number, int) or not 0 <= number < len(names):
        raise GenotypeError(f"operation {str(number)[:20]} is none of 0..{len(names) - 1}")
    return names[number]


FORMS.register("naslib")((fits, read))
