"""A user's own network with choices in it, relaxed and discrete."""
# B batch, O options

import copy
import functools
import inspect
import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ...errors import SupernetError
from ...space.choice import Choice, weighed_sum
from ...space.choice_base import Undecided
from ...space.genotype import Genotype
from ...space.layers import Elastic
from ...space.layers.repeat import Repeat
from ...space.space import Space
from ...space.tree import all_choices, tree_of
from ...space.value import Derived, ValueChoice, value_of
from ..choice_sum import fused_sum
from ..executor import Executor
from ..executor.automatic import Auto
from ..executor.fused import Fused
from ..executor.registry import Mask
from .registry import MACROS, Macro

__all__ = ["ModuleBody", "decide"]

log = logging.getLogger(__name__)


class ModuleBody(nn.Module):
    """The network itself, each choice a site; choices that share a name read one table.

    Executors serve cells, so this runs as the modules that it is; with a fused one each `Choice` sums its options in
    one fused pass (choice_sum.py), unless the output is to be differentiated twice.
    """

    def __init__(self, space: Space, executor: Executor | None = None, /, **arguments: Any) -> None:
        super().__init__()
        self.net = _made(space, arguments)
        self.executor = None
        self._double_backward = False
        found = list(all_choices(self.net))
        self.sites = tuple(site for site, _ in found)
        self._choices = [choice for _, choice in found]
        if repr(tree_of(self.net)) != repr(list(space.root)):  # equal dicts may differ in their order
            raise SupernetError(
                f"the network of space {space.name!r} has other decisions with the arguments {str(arguments)[:120]}; "
                "its tree must not depend on them: bind such arguments in the space, Space(partial(Net, ...))"
            )
        self._sums = [choice for choice in self._choices if isinstance(choice, Choice) and len(choice.names) > 1]
        if self._sums and isinstance(executor, Fused | Auto):
            where = " where that is faster" if isinstance(executor, Auto) else ""
            log.info(
                "space %r runs as modules, with each of its %d Choice points summed in one fused pass%s (executor=%s)",
                *(space.name, len(self._sums), where, executor.name),
            )
            self._sum_by(functools.partial(fused_sum, executor))

    @property
    def double_backward(self) -> bool:
        """Whether the output can be differentiated twice; once asked for it stays."""
        return self._double_backward

    @double_backward.setter
    def double_backward(self, needed: bool) -> None:
        self._double_backward = needed
        if needed and any(choice.add is not weighed_sum for choice in self._sums):
            log.info("double backward: the Choice points are summed by stock operations, not in fused passes")
            self._sum_by(weighed_sum)

    def _sum_by(self, add: Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]) -> None:
        for choice in self._sums:
            choice.add = add

    def run(self, x: Any, p: Sequence[Tensor], mask: Sequence[Mask]) -> Tensor:
        """The network's output."""
        try:
            for choice, p_EO, mask_EO in zip(self._choices, p, mask, strict=True):
                choice.mix(p_EO[0], mask_EO[0])
            # Of the forms of attention the plain one alone can be differentiated twice.
            with sdpa_kernel(SDPBackend.MATH) if self.double_backward else nullcontext():
                return self.net(x)
        finally:  # a stale p would keep its graph alive, and a bare call of the network would use it
            for choice in self._choices:
                choice.mix(None)


class _Sum(nn.Module):
    """The sum of several options that one input goes through."""

    def __init__(self, options: Sequence[nn.Module]) -> None:
        super().__init__()
        self.options = nn.ModuleList(options)

    def forward(self, *inputs: Any, **named: Any) -> Tensor:
        outputs = [option(*inputs, **named) for option in self.options]
        return sum(outputs[1:], outputs[0])


def decide(net: nn.Module, space: Space, genotype: Genotype) -> nn.Module:
    """A copy of `net` in which each choice is replaced by what `genotype` takes, weights kept."""
    return _decided(copy.deepcopy(net), space, genotype, fresh=False)


def _decided(net: nn.Module, space: Space, genotype: Genotype, *, fresh: bool) -> nn.Module:
    """`net` itself; `fresh` draws the weights of undecided layers anew, as their decided sizes ask for."""
    active = space.active(genotype)
    holder = nn.ModuleDict({"net": net})
    taken = {choice: [column for _, column in active[site]] for site, choice in all_choices(net)}
    _Decider(taken, fresh).replace(holder)
    return holder["net"]


class _Decider:
    """Replaces what is undecided; one module that stands in two places becomes the same in both."""

    def __init__(self, taken: dict[Undecided, list[int]], fresh: bool) -> None:
        self.taken, self.fresh = taken, fresh
        self._values = {c: columns[0] for c, columns in taken.items() if isinstance(c, ValueChoice) and columns}
        self._made: dict[nn.Module, Any] = {}

    def replace(self, module: nn.Module) -> None:
        """Replace the children of `module`, their children too."""
        for name, child in list(module._modules.items()):  # named_children() would give such a module once only
            if child is None:
                continue
            if child not in self._made:
                self._made[child] = child  # before its children: a module may stand inside itself
                self._made[child] = self._decided(child)
            made = self._made[child]
            if made is child:
                continue
            if not isinstance(made, nn.Module):  # a value that a module keeps as its attribute
                del module._modules[name]
            setattr(module, name, made)

    def _decided(self, child: nn.Module) -> Any:
        if isinstance(child, ValueChoice | Derived):
            return value_of(child, self._values)
        if isinstance(child, Elastic):
            made = child.plain(self._values, fresh=self.fresh)
            if isinstance(child, Repeat):
                self.replace(made)
            return made
        if isinstance(child, Choice):
            return self._options(child)
        self.replace(child)
        return child

    def _options(self, choice: Choice) -> nn.Module:
        columns = [choice.default] if choice.mark == "fixed" else self.taken[choice]
        holder = nn.ModuleDict({choice.names[column]: choice.options[choice.names[column]] for column in columns})
        self.replace(holder)
        taken = list(holder.values())
        return taken[0] if len(taken) == 1 else _Sum(taken)


def _made(space: Space, arguments: dict[str, Any]) -> nn.Module:
    if space.factory is None:
        raise TypeError("the space was not made from a network")
    return space.factory(**arguments)


def _build(space: Space, genotype: Genotype, /, **arguments: Any) -> nn.Module:
    return _decided(_made(space, arguments), space, genotype, fresh=True)


def _of(space: Space) -> Macro:
    """Both, with the network's own keyword arguments for those that a caller may give."""
    return Macro(_with_arguments(ModuleBody, space, 2), _with_arguments(_build, space, 2), frame=None)


def _with_arguments(function: Callable[..., nn.Module], space: Space, positional: int) -> Callable[..., nn.Module]:
    factory = space.factory
    bound = set(factory.keywords) if isinstance(factory, functools.partial) else set()
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    own = inspect.signature(factory).parameters.values() if factory is not None else ()
    taken = [p for p in own if p.kind in kinds and p.default is not p.empty and p.name not in bound]
    names = [inspect.Parameter(f"_{i}", inspect.Parameter.POSITIONAL_ONLY) for i in range(positional)]

    def with_arguments(*given: Any, **arguments: Any) -> nn.Module:
        return function(*given, **arguments)

    keywords = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in taken]
    with_arguments.__signature__ = inspect.Signature([*names, *keywords])  # type: ignore[attr-defined]
    return with_arguments


MACROS.register("module")(Macro(ModuleBody, _build, frame=None, of=_of))
