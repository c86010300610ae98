"""NNI's exported architecture of its DARTS space (https://nni.readthedocs.io): one JSON object of decisions.

{"normal/op_2_0": "sep_conv_3x3", "normal/input_2_0": [1], "normal/op_2_1": ..., "reduce/op_5_1": ...}
"""

import re

from ...errors import GenotypeError
from ..genotype import Genotype
from .form import FORMS, Value, cells_genotype

__all__ = ["fits", "read"]

_KEY = re.compile(r"(?:.*/)?(normal|reduce)/(op|input)_(\d{1,2})_(\d)")


def fits(value: Value) -> bool:
    return isinstance(value, dict) and any(_KEY.fullmatch(key) for key in value)


def read(value: Value) -> Genotype:
    """The genotype; raises GenotypeError for an operation without an input, and for a key that says something else."""
    assert isinstance(value, dict)
    terms: dict[tuple[str, int, str], dict[str, Value]] = {}
    for key, item in value.items():
        match = _KEY.fullmatch(key)
        if match is None:
            raise GenotypeError(f"the key {key[:60]!r} is no decision of a cell")
        terms.setdefault((match[1], int(match[3]), match[4]), {})[match[2]] = item
    cells: dict[str, list[list[tuple[str, int]]]] = {"normal": [], "reduce": []}
    for (kind, node, number), term in sorted(terms.items()):
        source = term.get("input")
        source = source[0] if isinstance(source, list) and len(source) == 1 else source
        operation = term.get("op")
        if not isinstance(operation, str) or not isinstance(source, int):
            raise GenotypeError(f"{kind}/op_{node}_{number} lacks its operation or its one input")
        while len(cells[kind]) < node - 1 and len(cells[kind]) < 12:
            cells[kind].append([])
        cells[kind][-1].append((operation, source))
    return cells_genotype(cells)


FORMS.register("nni")((fits, read))
