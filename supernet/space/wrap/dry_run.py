"""The dry run: one example through the network, and through every alternative of every module on its way.

Each alternative is given what the original is given there and must give a tensor of the same shape and type. Refused by
name are modules that never run (the code around them reads their weights, say), attributes that alternatives cannot
have, and whatever works in place on an input that other options read too. For the last a second run is in training,
where dropout works.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ...errors import SupernetError
from ..in_place import versions
from .choice import WrappedChoice, is_plain

__all__ = ["Example", "dry_run", "first_line", "make_example"]

Example = Tensor | Sequence[int] | None
BATCH = 2


def make_example(model: nn.Module, example: Example) -> Tensor:
    """A batch [B, ...] for `model`: `example` itself, one of its shape (C, H, W), or one of the size that timm notes.

    Raises SupernetError where it is no shape, or where nothing notes one.
    """
    own = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(0))
    if isinstance(example, Tensor):
        return example.to(own.device)
    shape = _noted_shape(model) if example is None else tuple(example) if isinstance(example, Sequence) else ()
    if shape is None:
        raise SupernetError(
            f"wrap cannot tell what {type(model).__name__} takes: give example=(3, 32, 32), its input's shape"
        )
    if not shape or not all(isinstance(size, int) and not isinstance(size, bool) and size > 0 for size in shape):
        raise SupernetError(f"example={example!r} must be the shape of one input, such as (3, 32, 32), or a batch")
    drawn = torch.randn((BATCH, *shape), generator=torch.Generator().manual_seed(0))  # none of the user's randomness
    return drawn.to(own.device, own.dtype)


def _noted_shape(model: nn.Module) -> tuple[int, ...] | None:
    """What timm notes of a model: `input_size`, but for the size and channels that it was made with."""
    noted = getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None)
    if not isinstance(noted, Mapping) or not noted.get("input_size"):
        return None
    channels, *size = noted["input_size"]
    image_size = getattr(getattr(model, "patch_embed", None), "img_size", None)
    first = noted.get("first_conv")
    stem = dict(model.named_modules()).get(first) if isinstance(first, str) else None
    if isinstance(stem, nn.Conv2d):
        channels = stem.in_channels
    return (int(channels), *(image_size if isinstance(image_size, tuple) else size))


def dry_run(model: nn.Module, net: nn.Module, choices: Sequence[WrappedChoice], x: Tensor) -> dict[str, set[str]]:
    """Runs the batch `x` [B, ...] through `model`, and through `net`, which is `model` with `choices` in it.

    Gives the attributes of each choice that the code around it reads, by place. Raises SupernetError as this file says.
    """
    comparison = _Comparison()
    for choice in choices:
        choice.probe = comparison.run
    with torch.no_grad(), torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
        torch.default_generator.manual_seed(0)
        alone = copy.deepcopy(model).eval()  # a network may count its calls, and `model` must stay as it is
        refusal = f"{type(model).__name__} does not take the example of shape {tuple(x.shape)}; give example=(C, H, W)"
        expected = _passed(alone, x.clone(), refusal)
        torch.default_generator.manual_seed(0)
        got = _passed(net.eval(), x.clone(), "code around the choices needs more than a module that it can call")
        comparison.check_passed_on()
        ran = set(comparison.ran)  # what runs in training alone is compared by nothing below
        _run_in_training(net, x.clone(), comparison)
    for choice in choices:
        choice.probe = None
        if choice.place not in ran:
            raise SupernetError(
                f"module {choice.place!r} does not run on the example: the code around it leaves it out, or reads its "
                "weights without calling it; match another module"
            )
        for name in sorted(choice.reads):
            _check_read(choice, name)
    if not _equal(list(_tensors(expected)), list(_tensors(got))):
        raise SupernetError(
            "the network computes something else with choices in it: code around "
            f"{', '.join(choice.place for choice in choices[:4])} depends on the type of a module; match others"
        )
    return {choice.place: set(choice.reads) for choice in choices}


class InPlaceError(SupernetError):
    """An option changes an input that others read, or lets the layer behind it do so."""


def _run_in_training(net: nn.Module, x: Tensor, comparison: "_Comparison") -> None:
    """Only what works in place counts: in training a batch may be too small, and outputs are random."""
    try:
        net.train()(x)
    except InPlaceError:
        raise
    except Exception:  # of any kind, as above; what has run until here is looked at
        pass
    comparison.check_passed_on()


def _passed(net: nn.Module, x: Tensor, failed: str) -> object:
    try:
        return net(x)
    except SupernetError:
        raise
    except Exception as error:  # of any kind: the network is not ours
        raise SupernetError(f"{failed}: {first_line(error)}") from error


@dataclass
class _Comparison:
    """Runs every option of each choice that is reached and compares what they give; `ran` has the places.

    `passed_on` has outputs of originals in whose place an option would give its input itself, each with its versions.
    """

    ran: set[str] = field(default_factory=set)
    passed_on: list[tuple[str, Tensor, list[int]]] = field(default_factory=list)

    def run(self, choice: WrappedChoice, inputs: tuple[object, ...], named: dict[str, object]) -> Tensor:
        """The original's output, of the shape that it gives, after every alternative has given one like it."""
        self.ran.add(choice.place)
        tensors = list(_tensors((inputs, named)))
        names = list(choice.options)
        expected = _output(choice, names[0], inputs, named, None)
        for name in names[1:]:
            y = _output(choice, name, inputs, named, expected)
            if any(y.untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr() for tensor in tensors):
                self.passed_on.append((_where(choice, name), expected, versions([expected])))
        return expected

    def check_passed_on(self) -> None:
        """Refuses an option that gives its input itself where the next layer changes in place what it is given."""
        for where, tensor, before in self.passed_on:
            if versions([tensor]) != before:
                raise InPlaceError(
                    f"{where} gives its input itself, and the layer behind it works in place: it would change what "
                    "others read; take identity of supernet.space.wrap, which gives a copy"
                )


def _output(
    choice: WrappedChoice, name: str, inputs: tuple[object, ...], named: dict[str, object], expected: Tensor | None
) -> Tensor:
    """What option `name` gives, checked against what the original gives."""
    read = list(_tensors((inputs, named)))
    before = versions(read)
    where, shapes = _where(choice, name), ", ".join(str(list(tensor.shape)) for tensor in read)
    try:
        y = choice.options[name](*inputs, **named)
    except Exception as error:
        names = f" and {', '.join(named)}=" if named else ""
        raise SupernetError(f"{where} fails on an input of {shapes}{names}: {first_line(error)}") from error
    if not isinstance(y, Tensor):
        raise SupernetError(f"{where} gives {type(y).__name__}; a choice is between modules that give one tensor")
    if versions(read) != before:
        raise InPlaceError(f"{where} works in place on its input, which other options read too; set inplace=False")
    if expected is not None and (y.shape, y.dtype) != (expected.shape, expected.dtype):
        own, original = ([*t.shape, *([t.dtype] if y.dtype != expected.dtype else [])] for t in (y, expected))
        raise SupernetError(f"{where} gives {own} for an input of {shapes}; the original gives {original}")
    return y


def _where(choice: WrappedChoice, name: str) -> str:
    return f"module {choice.place!r}, option {name!r}"


def _check_read(choice: WrappedChoice, name: str) -> None:
    """Refuses a read attribute that is no plain value, or that an alternative has with another value."""
    first, *others = choice.options
    value = getattr(choice.options[first], name)
    if not is_plain(value):
        raise SupernetError(
            f"module {choice.place!r}: the code around it reads .{name}, a {type(value).__name__}, which alternatives "
            "would not have; match another module"
        )
    for other in others:
        if (own := getattr(choice.options[other], name, value)) != value:
            raise SupernetError(
                f"module {choice.place!r}: the code around it reads .{name}, which is {value!r} for the original and "
                f"{own!r} for option {other!r}; leave that option out, or match another module"
            )


def _tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from (tensor for item in value.values() for tensor in _tensors(item))
    elif isinstance(value, tuple | list):
        yield from (tensor for item in value for tensor in _tensors(item))


def _equal(one: list[Tensor], other: list[Tensor]) -> bool:
    """Whether all tensors are equal, NaN to NaN."""
    if [a.shape for a in one] != [b.shape for b in other]:
        return False
    return all(bool(((a == b) | ((a != a) & (b != b))).all()) for a, b in zip(one, other, strict=True))


def first_line(error: Exception) -> str:
    """An error of code that is not ours, in one line."""
    text = str(error).strip().partition("\n")[0][:300]
    return text if isinstance(error, SupernetError) else f"{type(error).__name__}: {text}"
