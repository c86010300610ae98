"""A user's own network with choices in it, relaxed and discrete."""
# B batch, O options

import copy
import functools
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeAlias, TypeVar

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
from ..body import Body
from ..choice_sum import fused_sum
from ..executor import Auto, Executor, make_executor
from ..executor.fused import Fused
from ..gates import gated_statistics
from ..mixture import Mixture
from .registry import MACROS, Macro

__all__ = ["ModuleBody", "decide"]

log = logging.getLogger(__name__)

_Add: TypeAlias = Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]  # weights, outputs -> their sum
_Network = TypeVar("_Network", bound=nn.Module)


class ModuleBody(Body):
    """The network itself, each choice a site; choices that share a name read one table.

    Executors serve cells, so this runs as the modules that it is; with a fused one each `Choice` sums its options in
    one fused pass (choice_sum.py), unless the output is to be differentiated twice.
    """

    def __init__(self, space: Space, executor: Executor | None = None, /, **arguments: object) -> None:
        super().__init__()
        self.net = _network(space, arguments)
        self._double_backward = False
        choices = list(all_choices(self.net))
        self.sites = tuple(site for site, _ in choices)
        self._choices = [choice for _, choice in choices]
        if repr(tree_of(self.net)) != repr(list(space.root)):  # equal dicts may differ in their order
            raise SupernetError(
                f"the network of space {space.name!r} has other decisions with the arguments {str(arguments)[:120]}; "
                "its tree must not depend on them: bind such arguments in the space, Space(partial(Net, ...))"
            )
        self._summed = [choice for choice in self._choices if isinstance(choice, Choice) and len(choice.names) > 1]
        self._add: _Add = weighed_sum
        if executor is not None:
            self._sum_by(_sum_of(executor))
            self._log_sums(executor)

    def _sum_by(self, add: _Add) -> None:
        self._add = add
        for choice in self._summed:
            choice.add = add

    def _log_sums(self, executor: Executor) -> None:
        if self._summed and isinstance(executor, Fused | Auto):
            log.info(
                "a network runs as modules, with each of its %d Choice points summed in one fused pass%s (executor=%s)",
                len(self._summed),
                " where that is faster" if isinstance(executor, Auto) else "",
                executor.name,
            )

    @property
    def automatic(self) -> Auto | None:
        """What decides how choices are summed; None without such sums, and where they must be stock ones."""
        by = self._add.args[0] if self._summed and isinstance(self._add, functools.partial) else None
        return by if isinstance(by, Auto) else None

    def run(self, x: Tensor, mixture: Mixture) -> Tensor:
        """The network's output for `x` [B, ...], whatever its first layer reads."""
        try:
            for choice, p_EO, mask_EO in zip(self._choices, *mixture, strict=True):
                choice.mix(p_EO[0], mask_EO[0])
            # Of the forms of attention the plain one alone can be differentiated twice.
            attention = sdpa_kernel(SDPBackend.MATH) if self._double_backward else nullcontext()
            with attention, self._statistics(mixture):
                return self.net(x)
        finally:  # a stale p would keep its graph alive, and a bare call of the network would use it
            for choice in self._choices:
                choice.mix(None)

    def _statistics(self, mixture: Mixture) -> AbstractContextManager[None]:
        gates = [
            (mask_EO[0, column], option)
            for choice, mask_EO in zip(self._choices, mixture.mask, strict=True)
            if isinstance(mask_EO, Tensor) and isinstance(choice, Choice)
            for column, option in enumerate(choice.options.values())
        ]
        return gated_statistics(gates) if gates else nullcontext()

    def decide(self, space: Space, genotype: Genotype, arguments: Mapping[str, object]) -> nn.Module:
        return decide(self.net, space, genotype)

    def parameters_of(self, site: int, row: int, column: int) -> list[nn.Parameter]:
        """The weights, of any shapes, of one option of one choice; none where it has no weights of its own.

        Raises SupernetError where there is no such option.
        """
        if not 0 <= site < len(self._choices) or row != 0 or not 0 <= column < len(self._choices[site].names):
            raise SupernetError(f"there is no option in column {column} on row {row} of site {site}")
        choice = self._choices[site]
        # A choice between values has no weights: layers take slices of theirs.
        return list(choice.options[choice.names[column]].parameters()) if isinstance(choice, Choice) else []

    def use(self, name: str) -> None:
        executor = make_executor(name)
        self._sum_by(_sum_of(executor))
        self._log_sums(executor)

    @contextmanager
    def executing(self, name: str) -> Iterator[None]:
        before = self._add, self._double_backward
        executor = make_executor(name)
        self._sum_by(_sum_of(executor))
        self._double_backward = executor.double_backward
        try:
            yield
        finally:
            add, self._double_backward = before
            self._sum_by(add)

    def require_double_backward(self, who: str) -> None:
        """Sum the options by stock operations and run attention in its plain form, from now on."""
        self._double_backward = True
        if self._summed and self._add is not weighed_sum:
            log.info("double backward: the Choice points are summed by stock operations, not in fused passes")
            self._sum_by(weighed_sum)
        log.info("%s needs double backward: attention runs in its plain form", who)


def _sum_of(executor: Executor) -> _Add:
    """How options are summed where `executor` was asked for."""
    return functools.partial(fused_sum, executor) if isinstance(executor, Fused | Auto) else weighed_sum


class _Sum(nn.Module):
    """The sum of several options that one input goes through."""

    def __init__(self, options: Sequence[nn.Module]) -> None:
        super().__init__()
        self.options = nn.ModuleList(options)

    def forward(self, *inputs: object, **named: object) -> Tensor:
        """The sum [B, ...] of what the options make of the same inputs."""
        outputs = [option(*inputs, **named) for option in self.options]
        return sum(outputs[1:], outputs[0])


def decide(net: nn.Module, space: Space, genotype: Genotype) -> nn.Module:
    """A copy of `net` in which each choice is replaced by what `genotype` takes, weights kept."""
    return _decided(copy.deepcopy(net), space, genotype, fresh=False)


def _decided(net: nn.Module, space: Space, genotype: Genotype, *, fresh: bool) -> nn.Module:
    """`net` itself; `fresh` draws the weights of undecided layers anew, as their decided sizes ask for."""
    active = space.active(genotype)
    holder = nn.ModuleDict({"net": net})
    columns = {choice: [column for _, column in active[site]] for site, choice in all_choices(net)}
    _Decider(columns, fresh).replace(holder)
    return holder["net"]


class _Decider:
    """Replaces what is undecided; one module that stands in two places becomes the same in both."""

    def __init__(self, columns: dict[Undecided, list[int]], fresh: bool) -> None:
        self.columns, self.fresh = columns, fresh
        self._values = {c: its[0] for c, its in columns.items() if isinstance(c, ValueChoice) and its}
        self._replacements: dict[nn.Module, object] = {}

    def replace(self, module: nn.Module) -> None:
        """Replace the children of `module`, their children too."""
        for name, child in list(module._modules.items()):  # named_children() would give such a module once only
            if child is None:
                continue
            if child not in self._replacements:
                self._replacements[child] = child  # before its children: a module may stand inside itself
                self._replacements[child] = self._replacement(child)
            replacement = self._replacements[child]
            if replacement is child:
                continue
            if not isinstance(replacement, nn.Module):  # a value that a module keeps as its attribute
                del module._modules[name]
            setattr(module, name, replacement)

    def _replacement(self, child: nn.Module) -> object:
        if isinstance(child, ValueChoice | Derived):
            return value_of(child, self._values)
        if isinstance(child, Elastic):
            layer = child.plain(self._values, fresh=self.fresh)
            if isinstance(child, Repeat):
                self.replace(layer)
            return layer
        if isinstance(child, Choice):
            return self._options(child)
        self.replace(child)
        return child

    def _options(self, choice: Choice) -> nn.Module:
        columns = [choice.default] if choice.mark == "fixed" else self.columns[choice]
        holder = nn.ModuleDict({choice.names[column]: choice.options[choice.names[column]] for column in columns})
        self.replace(holder)
        options = list(holder.values())
        return options[0] if len(options) == 1 else _Sum(options)


def _network(space: Space, arguments: Mapping[str, object]) -> nn.Module:
    if space.factory is None:
        raise TypeError("the space was not made from a network")
    return space.factory(**arguments)


def _build(space: Space, genotype: Genotype, /, **arguments: object) -> nn.Module:
    return _decided(_network(space, arguments), space, genotype, fresh=True)


def _of(space: Space) -> Macro:
    """Both networks of one space; the arguments of its own network are those that a caller may set."""
    return Macro(_with_arguments(ModuleBody, space, 2), _with_arguments(_build, space, 2), frame=None)


def _with_arguments(function: Callable[..., _Network], space: Space, positional: int) -> Callable[..., _Network]:
    factory = space.factory
    bound = set(factory.keywords) if isinstance(factory, functools.partial) else set()
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    own = inspect.signature(factory).parameters.values() if factory is not None else ()
    free = [p for p in own if p.kind in kinds and p.default is not p.empty and p.name not in bound]
    names = [inspect.Parameter(f"_{i}", inspect.Parameter.POSITIONAL_ONLY) for i in range(positional)]

    def with_arguments(*first: object, **arguments: object) -> _Network:
        return function(*first, **arguments)

    keywords = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in free]
    vars(with_arguments)["__signature__"] = inspect.Signature([*names, *keywords])
    return with_arguments


MACROS.register("module")(Macro(ModuleBody, _build, frame=None, of=_of))
