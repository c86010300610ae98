"""`Choice`: a decision between modules, anywhere in a user's own network.

    self.op = Choice({"k3": partial(ConvBNReLU, c, c, 3), "k5": partial(ConvBNReLU, c, c, 5), "skip": nn.Identity})

Undecided, its output is sum_i p_i option_i(x) over the mixing weights p that the supernet hands it, and only options
whose mask is set run. Choices nest: one inside an option is a decision that this option opens. `share` makes one
decision of choices in different places.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import SupernetError
from .decision import Decision, KOf, OneOf

__all__ = ["Choice", "Option", "all_choices", "nested_choices", "read_choices"]

_OF_EVERY_MODULE = frozenset(vars(nn.Module()))  # training, _parameters, hooks ...
Option = nn.Module | Callable[[], nn.Module] | tuple[Any, ...]


class Choice(nn.Module):
    """One of `options` (or `k` of them, summed), each a module, a callable without arguments, or (class, arguments...).

    All options must map the same input to outputs of one shape. `share` is a name: choices with the same name are one
    decision, whatever their channels, and must have the same option names. Raises SupernetError for an empty list, for
    options that are no modules, and for two options that build the same thing.
    """

    def __init__(
        self, options: Mapping[str, Option] | Sequence[Option], *, share: str | None = None, k: int = 1
    ) -> None:
        super().__init__()
        named = options if isinstance(options, Mapping) else {str(i): option for i, option in enumerate(options)}
        if not named or not 1 <= k <= len(named):
            raise SupernetError(
                f"Choice of k={k} of {len(named)} options: needs at least one option and 1 <= k <= options"
            )
        for name in named:
            if not isinstance(name, str) or not name or "/" in name or "." in name:
                raise SupernetError(f"Choice: option name {name!r} must be a non-empty string without '/' and '.'")
        self.options = nn.ModuleDict({name: _make(name, option) for name, option in named.items()})
        self.share, self.k = share, k
        self._mixing: tuple[Tensor, tuple[bool, ...]] | None = None
        _refuse_twins(self.options)

    def extra_repr(self) -> str:
        return f"k={self.k}" + (f", share={self.share!r}" if self.share else "")

    def mix(self, p: Tensor | None, mask: Sequence[bool] = ()) -> None:
        """Set the mixing weights `p` of shape [O] and which options run; None leaves the choice undecided."""
        self._mixing = None if p is None else (p, tuple(mask))

    def forward(self, *inputs: Any) -> Tensor:
        """Sum of p_i times the output of option i, over the options that run."""
        if self._mixing is None:
            raise SupernetError(
                "this network has undecided choices: run it as Supernet(Space(Net)), or take the plain module that "
                "Supernet.discretize() returns"
            )
        p, mask = self._mixing
        outputs = [(p[i], option(*inputs)) for i, option in enumerate(self.options.values()) if mask[i]]
        shapes = {tuple(y.shape) for _, y in outputs}
        if len(shapes) != 1:
            got = {name: tuple(y.shape) for name, (_, y) in zip(_running(self, mask), outputs, strict=True)}
            raise SupernetError(f"the options of a Choice must give one shape, not {got}" if got else "no option runs")
        total = outputs[0][0] * outputs[0][1]
        for weight, y in outputs[1:]:
            total = torch.addcmul(total, weight, y)
        return total


def read_choices(factory: Callable[[], nn.Module]) -> tuple[list[Decision], str]:
    """The decision tree of the network that `factory` makes, and the network's name.

    A shared choice stands once, at the root when any of its places is nested, since it belongs to no single branch. One
    `Choice` object that stands in several places is one decision, named by the first.
    """
    if isinstance(factory, nn.Module):
        raise SupernetError(
            f"Space(...) takes the class {type(factory).__name__} or a function that makes the network, not a network"
        )
    try:
        inspect.signature(factory).bind()
    except TypeError as error:
        raise SupernetError(
            f"Space(...) makes the network without arguments, but {error}; give Space(partial(Net, ...))"
        ) from None
    net = factory()
    if not isinstance(net, nn.Module):
        raise SupernetError(f"Space(...) takes a network class or a function that makes one, not {type(net).__name__}")
    shared: dict[str, Decision] = {}
    own = _tree(net, "", shared, {})
    return [*own, *shared.values()], type(net).__name__


def nested_choices(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, Choice]]:
    """The outermost choices inside `module`, each with its decision path; a shared one has its shared name."""
    for name, child in module.named_children():
        path = f"{prefix}{name}"
        if isinstance(child, Choice):
            yield child.share or path, child
        else:
            yield from nested_choices(child, f"{path}/")


def all_choices(
    module: nn.Module, prefix: str = "", seen: set[nn.Module] | None = None
) -> Iterator[tuple[str, Choice]]:
    """Every choice inside `module`, nested ones too, each once with its decision path; parents before children."""
    seen = set() if seen is None else seen
    for path, choice in nested_choices(module, prefix):
        if choice not in seen:
            seen.add(choice)
            yield path, choice
            for name, option in choice.options.items():
                yield from all_choices(_inside(option), f"{path}/{name}/", seen)


def _inside(option: nn.Module) -> nn.Module:
    """A module whose children are searched for an option's choices: an option may itself be a choice."""
    return nn.ModuleDict({"choice": option}) if isinstance(option, Choice) else option


def _tree(module: nn.Module, prefix: str, shared: dict[str, Decision], owner: dict[nn.Module, str]) -> list[Decision]:
    """`owner` has for each choice met so far the option that opens it, "" at the root."""
    found: list[Decision] = []
    for path, choice in nested_choices(module, prefix):
        if choice in owner:
            if choice.share is None and owner[choice] != prefix:
                raise SupernetError(
                    f"the Choice at {path!r} stands in two options, or in and out of one; give it a share"
                )
            continue
        owner[choice] = prefix
        below = {}
        for name, option in choice.options.items():
            start = f"{path}/{name}/"
            below[name] = tuple(_relative(d, start) for d in _tree(_inside(option), start, shared, owner))
        decision = KOf(path, below, k=choice.k) if choice.k > 1 else OneOf(path, below)
        if choice.share is None:
            found.append(decision)
        elif repr(shared.setdefault(choice.share, decision)) != repr(decision):  # equal dicts may differ in their order
            raise SupernetError(
                f"choices that share {choice.share!r} must have the same options in the same order and k"
            )
    return found


def _relative(decision: Decision, start: str) -> Decision:
    name = decision.name.removeprefix(start)
    return KOf(name, decision.options, k=decision.k) if isinstance(decision, KOf) else OneOf(name, decision.options)


def _make(name: str, option: Option) -> nn.Module:
    if isinstance(option, tuple) and option and callable(option[0]):
        made = option[0](*option[1:])
    else:
        try:
            made = option if isinstance(option, nn.Module) else option() if callable(option) else option
        except TypeError as error:
            raise SupernetError(f"Choice option {name!r} cannot be made without arguments: {error}") from None
    if not isinstance(made, nn.Module):
        raise SupernetError(
            f"Choice option {name!r} gives {type(made).__name__}; give a module, a callable without arguments that "
            "makes one, or (class, arguments...)"
        )
    return made


def _refuse_twins(options: nn.ModuleDict) -> None:
    seen: dict[Any, str] = {}
    for name, option in options.items():
        form = _form(option)
        if form in seen:
            raise SupernetError(
                f"Choice options {seen[form]!r} and {name!r} build identical modules; was a loop variable bound late? "
                "write partial(Layer, k) instead of lambda: Layer(k)"
            )
        seen[form] = name


def _form(module: nn.Module) -> Any:
    """What a module is, but for the values of its weights."""
    plain = tuple((k, v) for k, v in sorted(vars(module).items()) if k not in _OF_EVERY_MODULE)
    tensors = tuple((k, tuple(t.shape)) for k, t in module.state_dict(keep_vars=True).items())
    return type(module), repr(module), repr(plain), tensors, tuple(_form(child) for child in module.children())


def _running(choice: Choice, mask: Sequence[bool]) -> list[str]:
    return [name for name, runs in zip(choice.options, mask, strict=True) if runs]
