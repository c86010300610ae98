"""The parts of a network with choices in it, and under which options each runs.

    leaf         a layer whose arguments may be choices, or the largest module without a choice or such a layer inside
    option i     what is inside runs under p_i of its Choice
    block i      of a Repeat runs under the sum of p_d over the counts d > i

A leaf's own choices, those of its arguments, come on top: each of their joint values makes another layer.
"""
# O options

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from ..errors import SupernetError
from ..space.choice import Choice
from ..space.choice_base import Undecided
from ..space.layers import Elastic, Repeat
from ..space.tree import all_choices
from ..space.value import Derived, ValueChoice, choices_of, value_of
from .placed import Factor, merged

__all__ = ["Leaf", "Leaves"]


@dataclass(frozen=True)
class Leaf:
    """A part, its place, the factors of the way to it, and the names of its own choices' tables.

    `alone` has parameters that stand beside parts, not in one; it never runs.
    """

    module: nn.Module
    path: str
    factors: tuple[Factor, ...]
    own: tuple[str, ...] = ()
    alone: bool = False

    def layer(self, options: dict[str, int], sites: dict[Undecided, str]) -> nn.Module:
        """The plain module under these `options` of the tables; `sites` has the table of each choice."""
        if not isinstance(self.module, Elastic):
            return self.module
        chosen = {choice: options[sites[choice]] for choice in self.module.choices if choice.mark != "fixed"}
        return self.module.plain(chosen, fresh=True)


class Leaves:
    """All leaves of `net`, in order; `sites` has the name of each choice's table, `sizes` the options of each table."""

    def __init__(self, net: nn.Module) -> None:
        self.net = net
        self.sites = {choice: site for site, choice in all_choices(net)}
        self.sizes = {site: len(choice.names) for choice, site in self.sites.items()}
        self._met: dict[nn.Module, Leaf] = {}
        self.all = list(self._read(net, "", ()))

    def values(self) -> dict[str, list[ValueChoice]]:
        """Table -> its choices between values."""
        values: dict[str, list[ValueChoice]] = {}
        for choice, site in self.sites.items():
            if isinstance(choice, ValueChoice):
                values.setdefault(site, []).append(choice)
        return values

    def _read(self, module: nn.Module, path: str, factors: tuple[Factor, ...]) -> Iterator[Leaf]:
        if isinstance(module, ValueChoice | Derived):
            return
        leaf = Leaf(module, path, factors, self._own(module), alone=not _is_leaf(module))
        if module in self._met:
            if self._met[module].factors != factors:
                raise SupernetError(
                    f"the cost of {path!r} is no sum over options: this module also stands at "
                    f"{self._met[module].path!r}, under other options"
                )
            return
        self._met[module] = leaf
        if not leaf.alone:
            yield leaf
            return
        if module._parameters:
            yield leaf
        for name, child, more in self._below(module):
            yield from self._read(child, f"{path}/{name}".strip("/"), merged((*factors, *more)))

    def _own(self, module: nn.Module) -> tuple[str, ...]:
        choices = module.choices if isinstance(module, Elastic) and not isinstance(module, Repeat) else ()
        return tuple(dict.fromkeys(self.sites[choice] for choice in choices if choice.mark != "fixed"))

    def _below(self, module: nn.Module) -> Iterator[tuple[str, nn.Module, tuple[Factor, ...]]]:
        """(name, child, factors that lead to it)"""
        if isinstance(module, Choice):
            for i, (name, option) in enumerate(module.options.items()):
                if module.mark != "fixed":
                    yield name, option, (Factor(self.sites[module], 0, (i,)),)
                elif i == module.default:
                    yield name, option, ()
        elif isinstance(module, Repeat):
            for i, block in module.blocks():
                yield str(i), block, self._reaching(module, i)
        else:
            yield from ((name, child, ()) for name, child in module.named_children())

    def _reaching(self, repeat: Repeat, place: int) -> tuple[Factor, ...]:
        counts = [choice for choice in choices_of(repeat.count) if choice.mark != "fixed"]
        if not counts:
            return ()
        (choice,) = counts
        reach = [o for o in range(len(choice.names)) if value_of(repeat.count, {choice: o}) > place]
        return (Factor(self.sites[choice], 0, tuple(reach)),)


def _is_leaf(module: nn.Module) -> bool:
    if isinstance(module, Elastic):
        return not isinstance(module, Repeat)
    return not any(isinstance(child, Undecided | Elastic | Derived) for child in module.modules())
