"""A text for a cell that is equal for cells which describe the same network, up to the order of nodes.

A node is written as the sorted sum of its incoming terms. `skip_connect` gives the predecessor's own text, any other
operation gives ``(text)@op``, and a term that is exactly zero (`none`, or a skip of an empty node) is dropped. `noise`
does not depend on what it is applied to. The cell's text is the sorted list of its output nodes' texts. NAS-Bench-201
so has 6,674 different networks among its 15,625 encodings; the published figure of 6,466 follows another rule, see
`published_text`.

The text does not tell one node used twice from two nodes of equal form, as the published rule does not either.
"""

from ..graph import CellGraph, Term

__all__ = ["canonical_cell", "published_text"]


def canonical_cell(graph: CellGraph, strided: bool = False) -> str:
    """The cell's canonical text; `strided`: edges from the inputs have stride 2, so a skip there is no identity."""
    states: list[str] = [str(i) for i in range(graph.inputs)]
    for terms in graph.nodes:
        parts = [_term(term, states, strided and term.source < graph.inputs) for term in terms]
        states.append("+".join(sorted(part for part in parts if part)))
    return str(sorted(states[i] for i in graph.concat))


def _term(term: Term, states: list[str], strided: bool) -> str:
    source = states[term.source]
    if term.op == "noise":
        return "noise"
    if term.op == "none" or (not source and term.op == "skip_connect"):
        return ""
    return source if term.op == "skip_connect" and not strided else f"({source})@{term.op}"


def published_text(graph: CellGraph) -> str:
    """The last node under the rule behind NAS-Bench-201's published count of 6,466 (arXiv:2001.00326, section 2.1).

    A zero term stays as ``#`` inside the sum, and any operation on a predecessor whose text is exactly ``#`` gives
    ``#``, which is true only where batch norm has no bias.
    """
    states = ["0"]
    for terms in graph.nodes:
        parts = []
        for term in terms:
            source = states[term.source]
            if term.op == "none" or source == "#":
                parts.append("#")
            else:
                parts.append(source if term.op == "skip_connect" else f"({source})@{term.op}")
        states.append("+".join(sorted(parts)))
    return states[-1]
