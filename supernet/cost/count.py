"""Parameters and FLOPs of a genotype.

    1 multiply-add = 2 FLOPs, as torch.utils.flop_counter counts; papers often print multiply-adds ("MACs"), half of it

Convolutions, linear layers and products of matrices (attention) count; norms, pools, additions and biases do not. Cells
are a sum over the macro structure's plan, each different operation counted once; other networks are built on torch's
meta device, without memory or arithmetic, and counted there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from ..network.discrete import build_from
from ..space import Genotype, Space
from .arguments import complete, image_for, input_shape, running, space_for
from .cells import genotype_parts, known_cells
from .placed import Part, Shape

__all__ = ["Count", "count", "count_whole", "flops", "parameters", "report"]


@dataclass(frozen=True)
class Count:
    """Learned numbers, and FLOPs of one forward pass."""

    parameters: int
    flops: int


def parameters(genotype: Genotype, *, space: Space | None = None, **arguments: object) -> int:
    """Learned numbers of the network that `build(genotype, **arguments)` makes; `space` is needed for one's own."""
    return _totals(genotype, space, None, arguments, run=False).parameters


def flops(
    genotype: Genotype, *, image: Sequence[int] | None = None, space: Space | None = None, **arguments: object
) -> int:
    """FLOPs of one image (C, H, W) through that network in evaluation, two for a multiply-add.

    Without `image` it has 32 x 32 pixels and the channels that the network takes by default.
    """
    return _totals(genotype, space, image, arguments, run=True).flops


def report(
    genotype: Genotype, *, image: Sequence[int] | None = None, space: Space | None = None, **arguments: object
) -> dict[str, int]:
    """`parameters`, `flops` and `macs` (multiply-adds, half the FLOPs) of one image, ready for a log or a table."""
    total = _totals(genotype, space, image, arguments, run=True)
    return {"parameters": total.parameters, "flops": total.flops, "macs": total.flops // 2}


def count(part: Part) -> Count:
    """One part, built and run on the meta device."""
    with torch.device("meta"), torch.no_grad():
        module = part.make().eval().to("meta")  # a wrapped network is a copy of one that has numbers
        learned = sum(p.numel() for p in module.parameters()) if part.owns else 0
        if not part.runs:
            return Count(learned, 0)
        with FlopCounterMode(display=False) as counter:
            module(*(torch.empty(shape) for shape in part.inputs))
    return Count(learned, counter.get_total_flops())


# An operation's name stands for one builder as long as the process lives; names of a user's own modules do not.
count_named = lru_cache(maxsize=4096)(count)


def _totals(
    genotype: Genotype, space: Space | None, image: Sequence[int] | None, own: Mapping[str, object], run: bool
) -> Count:
    """The count with the network's defaults for all arguments but its `own`; no FLOPs unless `run`."""
    space = space_for(genotype, space)
    shape = input_shape(image_for(space, image, own))
    arguments = complete(space, own, shape)
    cells = known_cells(space)
    if cells is None:
        return count_whole(genotype, space, shape, arguments, run)
    counted = [count_named(part) for part in genotype_parts(cells, genotype, shape, arguments)]
    return Count(sum(c.parameters for c in counted), sum(c.flops for c in counted))


def count_whole(
    genotype: Genotype, space: Space, shape: Shape, arguments: Mapping[str, object], run: bool = True
) -> Count:
    """The network of `genotype`, built as a whole, on inputs of `shape`; no FLOPs unless `run`."""
    with torch.device("meta"):
        net = build_from(space, genotype, seed=0, **arguments)
    with running(space.name, shape):
        return count(Part(space.name, (shape,), lambda: net, runs=run))
