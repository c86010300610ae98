"""Undecided depth: the first `count` of a row of blocks.

    h_0 = x,  h_{i+1} = block_i(h_i),  output = sum_d p_d h_d

A block runs while some count that runs reaches it. Decisions inside block i are open for the counts above i.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ...errors import SupernetError
from ..value import Arg, ValueChoice, choices_of, value_of
from .elastic import Elastic, Running, Setting

__all__ = ["Repeat"]

MOST_BLOCKS = 1000


class Repeat(Elastic):
    """`make(i)`, or `make()`, builds block i; or `make` is the list of blocks.

    `count` is a number or a choice of numbers, 0 among them where the blocks keep the shape of x; all that run together
    must give outputs of one shape.
    """

    def __init__(self, make: Callable[..., nn.Module] | Sequence[nn.Module], count: Arg) -> None:
        super().__init__(count=count)
        self.count = count  # an undecided one stands among the children, under this name
        counts = [setting["count"] for setting in self.settings]
        if any(isinstance(n, bool) or not isinstance(n, int) or not 0 <= n <= MOST_BLOCKS for n in counts):
            raise SupernetError(f"Repeat: counts {counts!r:.60} must be whole numbers in 0..{MOST_BLOCKS}")
        blocks = _made(make, max(counts)) if callable(make) else list(make)
        if len(blocks) < max(counts) or not all(isinstance(block, nn.Module) for block in blocks):
            raise SupernetError(f"Repeat: needs {max(counts)} blocks, each a module, not {blocks!r:.80}")
        for i, block in enumerate(blocks[: max(counts)]):
            self.add_module(str(i), block)

    def blocks(self) -> Iterator[tuple[int, nn.Module]]:
        """(place, block), as many as the largest count."""
        yield from ((i, self.get_submodule(str(i))) for i in range(self.most("count")))

    def one(self, x: Tensor, setting: Setting) -> Tensor:
        for i, block in self.blocks():
            if i < setting["count"]:
                x = block(x)
        return x

    def mixed(self, x: Tensor, running: Sequence[Running]) -> Tensor:
        outputs = [r.weigh(x) for r in running if r.values["count"] == 0]
        for i, block in self.blocks():
            if all(r.values["count"] <= i for r in running):
                break
            x = block(x)
            outputs += [r.weigh(x) for r in running if r.values["count"] == i + 1]
        return self.total(outputs)

    def plain(self, taken: Mapping[ValueChoice, int], *, fresh: bool) -> nn.Module:
        """The row of blocks that run, their own choices still undecided."""
        by_choice = {c: c.default if c.mark == "fixed" else taken[c] for c in choices_of(self.count)}
        count = value_of(self.count, by_choice)
        return nn.Sequential(*(block for i, block in self.blocks() if i < count)).train(self.training)


def _made(make: Callable[..., Any], count: int) -> list[Any]:
    try:
        inspect.signature(make).bind(0)
    except (TypeError, ValueError):
        return [make() for _ in range(count)]
    return [make(i) for i in range(count)]
