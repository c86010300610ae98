"""A user's own network with choices in it, relaxed and discrete."""
# B batch, O options

import copy
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ...space.choice import Choice, all_choices
from ...space.genotype import Genotype
from ...space.space import Active, Space
from ..executor import Executor
from ..executor.registry import Mask
from .registry import MACROS, Macro

__all__ = ["ModuleBody", "decide"]


class ModuleBody(nn.Module):
    """The network itself, each choice a site; choices that share a name read one table.

    The executor serves cells and is not used here: each choice sums its own options.
    """

    def __init__(self, space: Space, executor: Executor | None = None, /) -> None:
        super().__init__()
        if space.factory is None:
            raise TypeError("the space was not made from a network")
        self.net = space.factory()
        self.executor = None
        found = list(all_choices(self.net))
        self.sites = tuple(path for path, _ in found)
        self._choices = [choice for _, choice in found]

    def run(self, x: Any, p: Sequence[Tensor], mask: Sequence[Mask]) -> Tensor:
        """The network's output."""
        try:
            for choice, p_EO, mask_EO in zip(self._choices, p, mask, strict=True):
                choice.mix(p_EO[0], mask_EO[0])
            return self.net(x)
        finally:  # a stale p would keep its graph alive, and a bare call of the network would use it
            for choice in self._choices:
                choice.mix(None)


class _Sum(nn.Module):
    """The sum of several options that one input goes through."""

    def __init__(self, options: Sequence[nn.Module]) -> None:
        super().__init__()
        self.options = nn.ModuleList(options)

    def forward(self, *inputs: Any) -> Tensor:
        outputs = [option(*inputs) for option in self.options]
        return sum(outputs[1:], outputs[0])


def decide(net: nn.Module, space: Space, genotype: Genotype) -> nn.Module:
    """A copy of `net` in which each choice is replaced by what `genotype` takes, weights kept."""
    active = space.active(genotype)
    holder = nn.ModuleDict({"net": copy.deepcopy(net)})
    _replace(holder["net"], "", active, {})
    return holder["net"]


def _replace(module: nn.Module, prefix: str, active: Active, made: dict[nn.Module, nn.Module]) -> None:
    """`made` has what became of each module met so far: one that stands in two places becomes the same in both."""
    for name, child in list(module._modules.items()):  # named_children() would give such a module once only
        if child is None:
            continue
        path = f"{prefix}{name}"
        if child not in made:
            made[child] = child
            if isinstance(child, Choice):
                made[child] = _taken(child, path, active, made)
            else:
                _replace(child, f"{path}/", active, made)
        if made[child] is not child:
            setattr(module, name, made[child])


def _taken(choice: Choice, path: str, active: Active, made: dict[nn.Module, nn.Module]) -> nn.Module:
    path = choice.share or path
    names = list(choice.options)
    taken = []
    for _, column in active[path]:
        name = names[column]
        holder = nn.ModuleDict({"choice": choice.options[name]})
        is_choice = isinstance(choice.options[name], Choice)
        _replace(holder if is_choice else holder["choice"], f"{path}/{name}/", active, made)
        taken.append(holder["choice"])
    return taken[0] if len(taken) == 1 else _Sum(taken)


def _build(space: Space, genotype: Genotype, /) -> nn.Module:
    if space.factory is None:
        raise TypeError("the space was not made from a network")
    return decide(space.factory(), space, genotype)


MACROS.register("module")(Macro(ModuleBody, _build))
