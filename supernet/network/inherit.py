"""Copies the shared weights of a supernet into the discrete network of one genotype.

Everything that both have is copied, buffers too. The discrete network's norms may have a scale and shift that the
supernet's lack: those stay at the identity, so that both compute the same.
"""

from torch import nn

from ..errors import SupernetError
from ..space.cells import CellSpace
from ..space.genotype import Genotype
from .cells.cell import DiscreteCell, MixedCell

__all__ = ["inherit"]


def inherit(body: nn.Module, net: nn.Module, space: CellSpace, genotype: Genotype) -> None:
    """Copy from the relaxed `body` into `net`, a discrete network of the same size.

    Raises SupernetError for a body with partial channels, whose operations are narrower than those of `net`.
    """
    for cell in body.modules():
        if isinstance(cell, MixedCell) and cell.partial > 1:
            raise SupernetError(
                f"the weights of a supernet with network.partial={cell.partial} do not fit its discrete network, whose "
                "operations see every channel; build(supernet.genotype(), ...) makes one to train from scratch"
            )
    active = space.active(genotype)
    for name, source in body.named_children():
        target = net.get_submodule(name)
        if not isinstance(target, nn.ModuleList) or not isinstance(source, nn.ModuleList):
            _copy(source, target)
            continue
        for mixed, discrete in zip(source, target, strict=True):
            if isinstance(mixed, MixedCell) and isinstance(discrete, DiscreteCell):
                _copy(mixed.preprocess, discrete.preprocess)
                ops = [op for terms in discrete.terms for op in terms.children()]
                for (row, column), op in zip(active[mixed.plan.kind], ops, strict=True):
                    _copy(dict(mixed.operations(row))[column], op)
            else:
                _copy(mixed, discrete)


def _copy(source: nn.Module, target: nn.Module) -> None:
    missing, unexpected = target.load_state_dict(source.state_dict(), strict=False)
    norms = {n for n, m in target.named_modules() if isinstance(m, nn.BatchNorm2d)}
    foreign = [key for key in missing if key.rpartition(".")[0] not in norms]
    if foreign or unexpected:  # a programming error: the two networks were not built with the same arguments
        raise RuntimeError(f"cannot inherit {foreign or unexpected} of {type(target).__name__}")
    learns = {name: p.requires_grad for name, p in source.named_parameters()}
    for name, p in target.named_parameters():
        p.requires_grad_(learns.get(name, p.requires_grad))
