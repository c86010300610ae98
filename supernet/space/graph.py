"""The graph of one discrete cell, as networks build it and drawings show it."""

from dataclasses import dataclass

__all__ = ["CellGraph", "Term"]


@dataclass(frozen=True)
class Term:
    """Operation `op` applied to state `source`."""

    op: str
    source: int


@dataclass(frozen=True)
class CellGraph:
    """`nodes[i]` is the sum of its terms and has the state number `inputs + i`; the output joins states `concat`."""

    inputs: int
    nodes: tuple[tuple[Term, ...], ...]
    concat: tuple[int, ...]

    @property
    def alive(self) -> bool:
        """Whether some path of operations other than `none` leads from an input to the output."""
        reached = set(range(self.inputs))
        for number, terms in enumerate(self.nodes, start=self.inputs):
            if any(term.source in reached and term.op != "none" for term in terms):
                reached.add(number)
        return any(state in reached for state in self.concat)

    @property
    def loose(self) -> tuple[int, ...]:
        """The nodes that no other node reads."""
        read = {term.source for terms in self.nodes for term in terms}
        return tuple(i for i in range(self.inputs, self.inputs + len(self.nodes)) if i not in read)
