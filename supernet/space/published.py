"""Cells published in the literature, by name: 28 of the DARTS space and two of NASNet's.

`published.json` holds each cell once, with every ``owner/repository:name`` it appears under; pairs of terms
``operation,input`` stand in node order, the stronger first where the authors sorted them.
"""

import json
from functools import cache
from importlib.resources import files
from typing import TypedDict

from ..errors import GenotypeError, unknown
from .decision import Value
from .genotype import Genotype
from .registry import get_space

__all__ = ["published", "published_names"]

# Names that papers use for cells which the repositories call otherwise.
_ALIASES = {
    "SDARTS_ADV": "xiangning-chen/SmoothDARTS:c10_s5_pgd",
    "SDARTS_RS": "xiangning-chen/SmoothDARTS:c10_s5_random",
    "Beta_DARTS": "Sunshine-Ye/Beta-DARTS:genotype",
}


class _Entry(TypedDict):
    names: list[str]
    normal: list[str]
    reduce: list[str]


def published_names() -> list[str]:
    """The shortest unambiguous name of each of the 30 cells, sorted."""
    names = _by_name()
    best: dict[int, str] = {}
    for name, entries in names.items():
        if len(entries) == 1 and (entries[0] not in best or len(name) < len(best[entries[0]])):
            best[entries[0]] = name
    return sorted(best.values())


def published(name: str) -> Genotype:
    """The cell `name`: a bare name where that is unambiguous, else ``owner/repository:name``.

    Raises GenotypeError for an unknown name and for one that stands for two cells.
    """
    names = _by_name()
    if name not in names:
        raise GenotypeError(
            unknown("genotype: no such file, and no published cell", name, (n for n in names if ":" not in n))
        )
    if len(names[name]) > 1:
        full = [n for n in names if n.endswith(f":{name}")]
        raise GenotypeError(f"{name!r} is the name of {len(names[name])} different cells; say which: {', '.join(full)}")
    entry = _entries()[names[name][0]]
    make = _nasnet if len(entry["normal"]) == 10 else _darts
    return make(entry).with_origin(published=name, source=entry["names"][0])


@cache
def _entries() -> list[_Entry]:
    entries: list[_Entry] = json.loads((files(__package__) / "published.json").read_text(encoding="utf-8"))
    return entries


@cache
def _by_name() -> dict[str, list[int]]:
    names: dict[str, list[int]] = {}
    for i, entry in enumerate(_entries()):
        for name in entry["names"]:
            names.setdefault(name, []).append(i)
            bare = names.setdefault(name.partition(":")[2], [])
            if i not in bare:
                bare.append(i)
    return names | {alias: names[target] for alias, target in _ALIASES.items()}


def _pairs(texts: list[str]) -> list[tuple[int, list[tuple[str, str]]]]:
    """(state number of the node, its two (operation, input) terms)"""
    terms = [(op, source) for op, _, source in (text.partition(",") for text in texts)]
    return [(2 + i // 2, terms[i : i + 2]) for i in range(0, len(terms), 2)]


def _darts(entry: _Entry) -> Genotype:
    decisions: dict[str, Value] = {}
    for kind, texts in (("normal", entry["normal"]), ("reduce", entry["reduce"])):
        for node, terms in _pairs(texts):
            path = f"{kind}/node{node}/inputs"
            decisions[path] = tuple(sorted(j for _, j in terms))
            decisions |= {f"{path}/{j}/op": op for op, j in terms}
    return get_space("darts").genotype(decisions)


def _nasnet(entry: _Entry) -> Genotype:
    decisions: dict[str, Value] = {}
    for kind, texts in (("normal", entry["normal"]), ("reduce", entry["reduce"])):
        for node, terms in _pairs(texts):
            for side, (op, j) in zip(("left", "right"), terms, strict=True):
                decisions |= {f"{kind}/node{node}/{side}/input": j, f"{kind}/node{node}/{side}/op": op}
    return get_space("nasnet").genotype(decisions)
