"""`Choice`: a decision between modules, or between values, anywhere in a user's own network.

    self.op = Choice({"k3": partial(ConvBNReLU, c, c, 3), "k5": partial(ConvBNReLU, c, c, 5), "skip": nn.Identity})
    self.width = Choice([16, 32, 64])      # see value.py; layers of `supernet` take it: Conv2d(3, self.width, 3)

Undecided, its output is sum_i p_i option_i(x) over the mixing weights p that the supernet hands it, and only options
whose mask is set run. Choices nest: one inside an option is a decision that this option opens. `share` makes one
decision of choices in different places.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import SupernetError
from .arithmetic import Plain
from .choice_base import ChoiceMark, Undecided
from .in_place import refuse_in_place, versions
from .value import ValueChoice, is_values

__all__ = ["Choice", "Option", "weighed_sum"]

_OF_EVERY_MODULE = frozenset(vars(nn.Module()))  # training, _parameters, hooks ...
Option = nn.Module | Callable[[], nn.Module] | tuple[object, ...] | Plain


class Choice(Undecided):
    """One of `options` (or `k` of them, summed), each a module, a callable without arguments, or (class, arguments...).

    All options must map the same input to outputs of one shape. `share` is a name: choices with the same name are one
    decision, whatever their channels, and must have the same option names. `mark` is "trainable", "searchable" (decided
    without alphas) or "fixed" (always `default`, an option's name; None: the first). Plain values give a `ValueChoice`.
    Raises SupernetError for an empty list, for options that are no modules, and for two options that build the same.
    """

    def __new__(cls, options: Any = None, **settings: Any) -> Any:
        """Numbers and texts are values: they are decided by the layers that use them."""
        if not is_values(options):
            return super().__new__(cls)
        if settings.pop("k", 1) != 1:
            raise SupernetError("Choice of values takes one of them: k must be 1")
        return ValueChoice(options, **settings)

    def __init__(
        self,
        options: Mapping[str, Option] | Sequence[Option],
        *,
        share: str | None = None,
        k: int = 1,
        mark: ChoiceMark = "trainable",
        default: Plain | None = None,
    ) -> None:
        if not isinstance(options, Mapping | list | tuple):
            raise SupernetError(f"Choice takes a list of options or a mapping of names to them, not {options!r:.60}")
        named = options if isinstance(options, Mapping) else {str(i): option for i, option in enumerate(options)}
        if not named or isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= len(named):
            raise SupernetError(
                f"Choice of k={k} of {len(named)} options: needs at least one option and 1 <= k <= options"
            )
        for name in named:
            if not isinstance(name, str) or not name or "/" in name or "." in name:
                raise SupernetError(f"Choice: option name {name!r} must be a non-empty string without '/' and '.'")
            if hasattr(nn.ModuleDict, name):
                raise SupernetError(f"Choice: option name {name!r} is taken by torch's modules; give another")
        super().__init__(list(named), share=share, k=k, mark=mark, default=default)
        self.options = nn.ModuleDict({name: _make(name, option) for name, option in named.items()})
        self.add: Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor] = weighed_sum  # an executor may have its own
        _refuse_twins(self.options)

    def forward(self, *inputs: object, **named: object) -> Tensor:
        """Sum of p_i times the output [...] of option i, over the options that run; all give one shape [...]."""
        options = list(self.options.values())
        running = self.running()
        outputs = []
        read = [*inputs, *named.values()] if len(running) > 1 else []  # alone, an option may write where it likes
        before = versions(read)
        for i, _ in running:
            outputs.append(options[i](*inputs, **named))
            refuse_in_place(read, before, f"option {self.names[i]!r} of a Choice")
        if not all(isinstance(y, Tensor) for y in outputs):
            raise SupernetError(f"the options {list(self.names)} of a Choice must each give one tensor")
        if len({tuple(y.shape) for y in outputs}) != 1:
            got = {self.names[i]: tuple(y.shape) for (i, _), y in zip(running, outputs, strict=True)}
            raise SupernetError(
                f"the options of a Choice must give one shape, not {got}; give them equal channels and padding"
            )
        weights = [weight for _, weight in running if weight is not None]
        return self.add(weights, outputs) if weights else outputs[0]


def weighed_sum(weights: Sequence[Tensor], outputs: Sequence[Tensor]) -> Tensor:
    """sum_i weights[i] * outputs[i], with scalars for weights and outputs [...] of one shape, which the sum has too."""
    total = weights[0] * outputs[0]
    for weight, y in zip(weights[1:], outputs[1:], strict=True):
        total = torch.addcmul(total, weight, y)
    return total


def _make(name: str, option: Option) -> nn.Module:
    module: object = option
    try:
        if isinstance(option, tuple) and option and callable(option[0]):
            module = option[0](*option[1:])
        elif callable(option) and not isinstance(option, nn.Module):
            module = option()
    except TypeError as error:
        raise SupernetError(f"Choice option {name!r} cannot be made with the arguments given: {error}") from None
    if not isinstance(module, nn.Module):
        raise SupernetError(
            f"Choice option {name!r} gives {type(module).__name__}; give a module, a callable without arguments that "
            "makes one, or (class, arguments...)"
        )
    return module


def _refuse_twins(options: nn.ModuleDict) -> None:
    seen: dict[object, str] = {}
    for name, option in options.items():
        form = _form(option)
        if form in seen:
            raise SupernetError(
                f"Choice options {seen[form]!r} and {name!r} build identical modules; was a loop variable bound late? "
                "write partial(Layer, k) instead of lambda: Layer(k)"
            )
        seen[form] = name


def _form(module: nn.Module) -> tuple[object, ...]:
    """What a module is, but for the values of its weights; of its children each tells its own part."""
    plain = tuple((k, v) for k, v in sorted(vars(module).items()) if k not in _OF_EVERY_MODULE)
    own = (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
    tensors = tuple((name, tuple(tensor.shape)) for name, tensor in own)
    children = tuple((name, _form(child)) for name, child in module.named_children())
    return type(module), module.extra_repr(), repr(plain), tensors, children
