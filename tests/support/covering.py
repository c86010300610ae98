"""Cases that cover their axes: `make test` meets each value of each axis, `make test-long` the whole product."""

import itertools
import math
from typing import Any

import pytest

__all__ = ["covering", "sampled"]


def covering(rounds: int = 1, **axes: Any) -> dict[str, Any]:
    """Arguments of `pytest.mark.parametrize` for the product of `axes`, name -> values.

    Case i of the short run takes value i of each axis, counted round; there are `rounds` times as many as the longest
    axis has values. Where two axes have a common divisor, each turn begins one further, so that other pairs meet.
    """
    names = list(axes)
    lengths = [len(list(axes[name])) for name in names]
    short = set()
    for i in range(rounds * max(lengths)):
        # Behind the least common multiple the same cases would come again.
        shift = i // math.lcm(*lengths)
        short.add(tuple((i + shift * k) % n for k, n in enumerate(lengths)))
    cases = [
        pytest.param(
            *(list(axes[name])[at] for name, at in zip(names, place, strict=True)),
            marks=() if place in short else pytest.mark.long,
        )
        for place in itertools.product(*map(range, lengths))
    ]
    return {"argnames": ",".join(names), "argvalues": cases}


def sampled(values: Any, every: int) -> list[Any]:
    """One value in `every` for the short run, beginning with the first; the others are repetitions of the long one."""
    return [pytest.param(v, marks=() if i % every == 0 else pytest.mark.long) for i, v in enumerate(values)]
