"""NAS-Bench-201 (Dong, Yang; arXiv:2001.00326): a cell of four nodes, six edges, five operations: 5^6 = 15,625 points.

Its string form lists, node by node, the operation of each incoming edge: ``|op~0|+|op~0|op~1|+|op~0|op~1|op~2|``.
"""

import re
from collections.abc import Sequence

from ...errors import GenotypeError
from ..cells import EdgeCells
from ..decision import Value
from ..genotype import Genotype
from ..registry import SPACES, space_of

__all__ = ["OPERATIONS", "from_string", "nasbench201", "to_string"]

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
_TERM = re.compile(r"([a-z0-9_]{1,40})~([0-9])")


@SPACES.register("nasbench201")
def nasbench201(operations: Sequence[str] = OPERATIONS) -> EdgeCells:
    """The space with the candidate `operations`, in the order of the table."""
    return EdgeCells(
        "nasbench201",
        {"operations": list(operations)},
        kinds=("cell",),
        inputs=1,
        nodes=3,
        operations=tuple(operations),
        macro="nasbench201",
    )


def to_string(genotype: Genotype) -> str:
    """The benchmark's string of a genotype of this space."""
    space = space_of(genotype)
    if not isinstance(space, EdgeCells):
        raise GenotypeError(f"a genotype of {genotype.space!r} has no NAS-Bench-201 string")
    graph = space.graphs(genotype)["cell"]
    return "+".join("|" + "".join(f"{term.op}~{term.source}|" for term in terms) for terms in graph.nodes)


def from_string(text: str) -> Genotype:
    """The genotype of the benchmark's string; raises GenotypeError where it is none."""
    space = nasbench201()
    decisions: dict[str, Value] = {}
    nodes = text.split("+") if isinstance(text, str) and len(text) < 1000 else []
    for target, node in enumerate(nodes, start=1):
        terms = node.removeprefix("|").removesuffix("|").split("|")
        matches = [_TERM.fullmatch(term) for term in terms]
        if f"|{'|'.join(terms)}|" != node or [m and m[2] for m in matches] != [str(j) for j in range(target)]:
            raise GenotypeError(
                f"{text[:120]!r} is no NAS-Bench-201 string: node {target} must read |op~0|...|op~{target - 1}|"
            )
        decisions |= {f"cell/{m[2]}-{target}": m[1] for m in matches if m}
    if len(nodes) != space.nodes:
        raise GenotypeError(
            f"{str(text)[:120]!r} is no NAS-Bench-201 string: it needs {space.nodes} nodes joined by '+'"
        )
    return space.genotype(decisions)
