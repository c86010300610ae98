"""The parts of networks made of cells: closed sums over the plans of the macro structures, without building them.

    network = stem + sum over cells (entrance + operations of its kind + additions + joining) + head

A term "none" does not run. A node of n terms has n - 1 additions.
"""
# B batch, C channels, H height, W width

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from ..errors import SupernetError
from ..network.cells.cell import CellPlan, DiscreteCell
from ..network.cells.pool_norm import with_pool_norm
from ..network.macro import MACROS
from ..network.macro.frame import Fixture, Frame, Site
from ..ops import operation
from ..space.cells import CellSpace, TopKCells
from ..space.genotype import Genotype
from ..space.graph import CellGraph
from ..space.space import Space
from .placed import Factor, Part, Placed, Shape

__all__ = ["genotype_parts", "known_cells", "relaxed_parts"]


class Add(nn.Module):
    """The sum of two states."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x + y [B, C, H, W], both of that shape."""
        return x + y


class Join(nn.Module):
    """States behind one another along the channels."""

    def forward(self, *states: Tensor) -> Tensor:
        """[B, n * C, H, W] of n states [B, C, H, W]."""
        return torch.cat(states, dim=1)


@dataclass(frozen=True)
class Cell:
    """One cell of the network and what its operations are built with."""

    site: Site
    affine: bool
    pool_bn: bool

    @property
    def plan(self) -> CellPlan:
        return self.site.plan

    def operation(self, name: str, source: int) -> Part:
        """Operation `name` on state `source`."""
        enters = source < len(self.plan.c_inputs)
        c, stride = self.plan.channels, 2 if self.plan.reduction and enters else 1
        full_name = f"{name} {c} stride {stride}{_flags(affine=self.affine, pool_bn=self.pool_bn)}"
        make = partial(_operation, name, c, stride, self.affine, self.pool_bn)
        return Part(full_name, (self.site.inner if enters else self.site.outer,), make)

    @property
    def addition(self) -> Part:
        return Part("add", (self.site.outer, self.site.outer), Add)

    def fixed(self, joined: int) -> Iterator[Part]:
        """The entrance, and the output of `joined` states."""
        for i, c_in in enumerate(self.plan.c_inputs if self.plan.preprocess else ()):
            halve = i == 0 and self.plan.reduction_prev
            name = f"entrance {c_in} to {self.plan.channels}{_flags(affine=self.affine, halve=halve)}"
            yield Part(name, (self.site.inputs[i],), partial(_entrance, self.plan, self.affine, i))
        if joined > 1:
            yield Part("join", (self.site.outer,) * joined, Join)


def known_cells(space: Space) -> CellSpace | None:
    """`space`, where its networks are cells in a macro structure that has a frame."""
    if not isinstance(space, CellSpace) or not space.macro:
        return None
    return space if MACROS[space.macro].frame is not None else None


def genotype_parts(space: CellSpace, genotype: Genotype, shape: Shape, arguments: Mapping[str, object]) -> list[Part]:
    """What has weights or products in the network of `genotype`, on inputs of `shape` [B, C, H, W]."""
    graphs = space.graphs(genotype)
    if arguments.get("concat") == "relaxed":
        graphs = {kind: replace(graph, concat=space.concat) for kind, graph in graphs.items()}
    frame, cells = _cells(space, shape, arguments, {kind: len(graph.concat) for kind, graph in graphs.items()})
    parts = [_part(fixture) for fixture in frame.fixtures]
    for cell in cells:
        graph = graphs[cell.plan.kind]
        parts += cell.fixed(len(graph.concat))
        for terms in graph.nodes:
            parts += [cell.operation(term.op, term.source) for term in terms if term.op != "none"]
    return parts


def relaxed_parts(space: CellSpace, shape: Shape, arguments: Mapping[str, object]) -> list[Placed]:
    """The parts of all genotypes at once, each under the options that it needs; cells join what relaxed ones do."""
    frame, cells = _cells(space, shape, arguments, dict.fromkeys(space.kinds, len(space.concat)))
    placed = [Placed(_part(fixture)) for fixture in frame.fixtures]
    for cell in cells:
        kind = cell.plan.kind
        placed += [Placed(part) for part in cell.fixed(len(space.concat))]
        for edge in space.edges:
            for name in space.offered(kind, edge):
                if name == "none":
                    continue
                runs = (Factor(kind, edge.row, (space.operations.index(name),)),)
                placed += [Placed(cell.operation(name, edge.source), runs), Placed(cell.addition, runs)]
        placed += _additions(space, cell)
    return placed


def _additions(space: CellSpace, cell: Cell) -> Iterator[Placed]:
    """With one addition a term counted, a node has one too many, unless all its terms are "none"."""
    kind = cell.plan.kind
    for target in space.targets:
        edges = space.incoming(target)
        yield Placed(cell.addition, times=-1)
        # TopKCells keep k operations other than none, whatever the tables hold
        if not isinstance(space, TopKCells) and all("none" in space.offered(kind, edge) for edge in edges):
            none = (space.operations.index("none"),)
            yield Placed(cell.addition, tuple(Factor(kind, edge.row, none) for edge in edges))


def _cells(
    space: CellSpace, shape: Shape, arguments: Mapping[str, object], joined: Mapping[str, int]
) -> tuple[Frame, list[Cell]]:
    """The frame of a network in which the output of each kind of cell has so many states `joined`, and its cells."""
    if len(shape) != 4:
        raise SupernetError(f"networks of {space.name!r} read images [B, C, H, W], not inputs of shape {shape}")
    frame_of = MACROS[space.macro].frame
    assert frame_of is not None, "asked only of `known_cells`"
    frame = frame_of(shape, joined, **arguments)
    return frame, [Cell(site, frame.affine, frame.pool_bn) for site in frame.sites]


def _part(fixture: Fixture) -> Part:
    return Part(fixture.name, (fixture.input,), fixture.make, runs=fixture.runs)


def _operation(name: str, channels: int, stride: int, affine: bool, pool_bn: bool) -> nn.Module:
    op = operation(name, channels, channels, stride, affine)
    return with_pool_norm(op, channels) if pool_bn else op


def _entrance(plan: CellPlan, affine: bool, index: int) -> nn.Module:
    empty = CellGraph(len(plan.c_inputs), (), ())
    return DiscreteCell(empty, plan, affine=affine).preprocess[index]


def _flags(**flags: bool) -> str:
    return "".join(f" {name}" for name, on in flags.items() if on)
