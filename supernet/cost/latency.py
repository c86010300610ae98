"""Measured latency: every different part of a space timed once on this device, summed for a network.

    predicted(g) = scale * sum over the parts of g  seconds(part)

Parts are operations, entrances of cells, additions, joins, stem, reductions and head; of a user's own network the
largest modules without a choice inside. `scale` is 1 until `calibrated` fits it to a few measured networks: between its
parts a network has glue, and caches and memory are not those of a part alone. Networks that calibrate must not be those
that a prediction is then judged by.
"""

import os
from collections.abc import Sequence
from functools import partial
from statistics import median

from ..errors import SupernetError
from ..network.discrete import build_from
from ..space import Genotype, Space
from .arguments import IMAGE, complete, input_shape, running
from .cache import Cache
from .clock import Conditions, Timer, fastest, prepared
from .expected import CostTable, placed_parts, tabulate
from .placed import Part

__all__ = ["calibrated", "latency_table", "measured"]


def latency_table(
    space: Space,
    *,
    image: Sequence[int] = IMAGE,
    where: Conditions | None = None,
    folder: str | os.PathLike[str] | None = None,
    timer: Timer | None = None,
    **arguments: object,
) -> CostTable:
    """Seconds of one batch, as a table for `expected` and with `of(genotype)`.

    `image` is (C, H, W). What the cache lacks (cache.py; `folder` names another) is measured and enters it. `arguments`
    are those of the discrete network. Raises SupernetError for arguments and inputs that the network does not take, and
    for a space whose relaxed network is not known here.
    """
    where = where or Conditions()
    shape = input_shape(image, where.batch)
    placed = placed_parts(space, shape, complete(space, arguments, shape), widths=True)
    parts = {_key(one.part, where): one.part for one in placed if one.part.runs}
    cache = Cache(folder, where)
    seconds = cache.read()
    missing = {key: part for key, part in parts.items() if key not in seconds}
    if missing:
        with where.active():
            calls = [prepared(part.make, part.inputs, where) for part in missing.values()]
            new = dict(zip(missing, (timer or partial(fastest, device=where.device))(calls), strict=True))
        cache.add(new)
        seconds |= new
    costs = {one.part: seconds[_key(one.part, where)] if one.part.runs else 0.0 for one in placed}
    return tabulate(space, "seconds", placed, costs)


def measured(
    space: Space,
    genotypes: Sequence[Genotype],
    *,
    image: Sequence[int] = IMAGE,
    where: Conditions | None = None,
    timer: Timer | None = None,
    **arguments: object,
) -> list[float]:
    """Seconds of one batch through each whole network, the networks taking turns.

    `image` is (C, H, W), `arguments` are those of the discrete network. Raises SupernetError where it fails on them.
    """
    where = where or Conditions()
    shape = input_shape(image, where.batch)
    arguments = complete(space, arguments, shape)
    with where.active(), running(space.name, shape):
        calls = [
            prepared(partial(build_from, space, genotype, seed=None, **arguments), [shape], where)
            for genotype in genotypes
        ]
        return (timer or partial(fastest, device=where.device))(calls)


def calibrated(table: CostTable, genotypes: Sequence[Genotype], seconds: Sequence[float]) -> CostTable:
    """The table with `scale` fitted: the median ratio over measured networks, which a few bad ones do not move."""
    if len(genotypes) != len(seconds) or not genotypes:
        raise SupernetError(f"{len(genotypes)} genotypes and {len(seconds)} times: needs one each, at least one")
    return table.scaled(median(s / table.of(genotype) for genotype, s in zip(genotypes, seconds, strict=True)))


def _key(part: Part, where: Conditions) -> str:
    return f"{part.key} {where.dtype}{' channels_last' if where.channels_last else ''}"
