"""Undecided depth: the first `count` of a row of blocks.

    h_0 = x,  h_{i+1} = block_i(h_i),  output = sum_d p_d h_d

A block runs while some count that runs reaches it. Decisions inside block i are open for the counts above i.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence

from torch import Tensor, nn

from ...errors import SupernetError
from ..arithmetic import short
from ..in_place import refuse_in_place, versions
from ..value import Arg, ValueChoice, value_of
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
        self.require_whole("count", least=0, most=MOST_BLOCKS)
        most = self.most("count")
        blocks = list(make) if isinstance(make, list | tuple | nn.ModuleList) else _built(make, most)
        modules = [block for block in blocks if isinstance(block, nn.Module)]
        if len(blocks) < most or len(modules) < len(blocks):
            raise SupernetError(f"Repeat: needs {most} blocks, each a module, not {short(blocks)}")
        for i, block in enumerate(modules[:most]):
            self.add_module(str(i), block)

    def blocks(self) -> Iterator[tuple[int, nn.Module]]:
        """(place, block), as many as the largest count."""
        yield from ((i, self.get_submodule(str(i))) for i in range(self.most("count")))

    def one(self, x: Tensor, setting: Setting) -> Tensor:
        """`x` [...] as the first block takes it to what the last that runs gives."""
        for i, block in self.blocks():
            if i < setting["count"]:
                x = block(x)
        return x

    def mixed(self, x: Tensor, running: Sequence[Running]) -> Tensor:
        """`x` [...] as the first block takes it to the one shape that all counts give which run."""
        outputs = [r.weigh(x) for r in running if r.values["count"] == 0]
        for i, block in self.blocks():
            if all(r.values["count"] <= i for r in running):
                break
            before, block_input = versions([x]), x
            x = block(x)
            if any(r.values["count"] == i for r in running):  # what it reads is an output too
                refuse_in_place([block_input], before, f"block {i} of a Repeat")
            outputs += [r.weigh(x) for r in running if r.values["count"] == i + 1]
        return self.total(outputs)

    def plain(self, indices: Mapping[ValueChoice, int], *, fresh: bool) -> nn.Module:
        """The row of blocks that run, their own choices still undecided."""
        count = value_of(self.count, indices)
        return nn.Sequential(*(block for i, block in self.blocks() if i < count)).train(self.training)


def _built(make: object, count: int) -> list[object]:
    """The blocks; their place is handed only to functions that ask for it, not to an argument with a default."""
    if isinstance(make, nn.Module) or not callable(make):
        raise SupernetError(f"Repeat takes a function that makes a block, or a list of blocks, not {short(make)}")
    try:
        signature = inspect.signature(make)
    except ValueError:  # built in
        return [make() for _ in range(count)]
    for arguments in ((), (0,)):
        try:
            signature.bind(*arguments)
        except TypeError:
            continue
        return [make(*((i,) if arguments else ())) for i in range(count)]
    raise SupernetError(f"Repeat: {short(make)} must take no argument, or the place of the block")
