"""Choices between values: their decisions, arithmetic, and what happens where a number was expected."""

import copy
import time
from collections.abc import Callable
from typing import Any

import pytest
from torch import nn

from supernet import Choice, Conv2d, Linear, Supernet, SupernetError, rounded
from supernet.space.arithmetic import MOST_OPERATIONS, Derived
from supernet.space.decision import Integer, OneOf, walk
from supernet.space.space import Space
from supernet.space.value import ValueChoice, choices_of, value_of


def test_values_are_told_from_modules() -> None:
    for options in ([3, 5], (1.5, 2.0), ["relu", "gelu"], range(2, 9, 2), {"small": 8, "big": 16}):
        assert isinstance(Choice(options), ValueChoice)
    assert not isinstance(Choice([nn.Identity, nn.ReLU]), ValueChoice)
    assert Choice({"small": 8, "big": 16}).names == ("small", "big")
    assert Choice(range(2, 9, 2)).values == (2, 4, 6, 8)


def test_a_list_is_a_one_of_and_a_range_an_integer() -> None:
    def net() -> nn.Module:
        return nn.Sequential(Linear(4, Choice([2, 4])), Linear(4, Choice(range(1, 6, 2))))

    decisions = dict(walk(Space(net).root))
    kinds = {path: (type(d), tuple(d.options)) for path, d in decisions.items()}
    assert kinds == {"0/out_features": (OneOf, ("2", "4")), "1/out_features": (Integer, ("1", "3", "5"))}
    assert Space(net).genotype({"0/out_features": "4", "1/out_features": 3}).decisions["1/out_features"] == 3


def test_a_range_may_run_down() -> None:
    """Its values are put in order, so that a number in a genotype is the number in the network."""
    space = Space(lambda: nn.Sequential(Linear(4, Choice(range(6, 1, -2)))))
    net = Supernet(space)
    for n in (2, 4, 6):
        assert net.discretize(space.genotype({"0/out_features": n}))[0][0].out_features == n


def test_names_come_from_where_a_value_stands_first() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            ratio, width = Choice([2, 4]), Choice([4, 8], share="width")
            self.kernel = Choice([3, 5])
            self.a = Conv2d(3, width, self.kernel)
            self.b = Conv2d(width, width * ratio, 1)
            self.c = Conv2d(width * ratio, Choice([1, 2]) * Choice([3, 4]), 1)

    assert [path for path, _ in walk(Space(Net).root)] == [
        "kernel", "b/out_channels", "c/out_channels/0", "c/out_channels/1", "width",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda c: c * 4, [8, 12]),
        (lambda c: 4 * c, [8, 12]),
        (lambda c: c + 1, [3, 4]),
        (lambda c: 10 - c, [8, 7]),
        (lambda c: c - 1, [1, 2]),
        (lambda c: -c + 4, [2, 1]),
        (lambda c: c // 2, [1, 1]),
        (lambda c: 7 // c, [3, 2]),
        (lambda c: (c + c) * c, [8, 18]),
        (lambda c: c * 1.5, [3.0, 4.5]),
        (lambda c: rounded(c * 10, 8), [24, 32]),  # 20 to 24, the nearer upwards; 30 to 32
    ],
)
def test_arithmetic(make: Callable[[Any], Any], expected: list[float]) -> None:
    choice = Choice([2, 3])
    derived = make(choice)
    assert isinstance(derived, Derived) and choices_of(derived) == (choice,)
    assert [value_of(derived, {choice: i}) for i in range(2)] == expected


def test_rounding_is_that_of_mobilenets() -> None:
    """Multiples of eight, never below nine tenths."""
    assert [rounded(v, 8) for v in (1, 11, 12, 16.9, 20, 91, 100.5)] == [8, 16, 16, 16, 24, 88, 104]
    assert all(rounded(v, 8) % 8 == 0 and rounded(v, 8) >= 0.9 * v for v in range(1, 500))


def test_a_copy_keeps_its_own_choice() -> None:
    layer = nn.Sequential(Conv2d(3, Choice([2, 4]) * 2, 3))
    twin = copy.deepcopy(layer)[0]
    assert twin.choices != layer[0].choices and choices_of(twin.arguments["out_channels"]) == twin.choices
    twin.choices[0].mix(None)


def value() -> Any:
    return Choice([2, 4])


@pytest.mark.parametrize(
    "use",
    [
        lambda: int(value()),
        lambda: float(value()),
        lambda: bool(value()),
        lambda: range(value()),
        lambda: [1, 2, 3][value()],
        lambda: round(value()),
        lambda: value() > 3,
        lambda: value() <= 3,
        lambda: value() == 2,
        lambda: value() != 2,
        lambda: value() % 2,
        lambda: value() / 2,
        lambda: 1 / value(),
        lambda: 5 % value(),
        lambda: value() ** 2,
        lambda: 2 ** value(),
        lambda: abs(value()),
        lambda: divmod(value(), 2),
        lambda: f"{value():d}",
        lambda: 1 if value() * 2 else 0,
        lambda: nn.Conv2d(3, value(), 3),
        lambda: nn.Dropout(value()),
        lambda: [nn.Identity() for _ in range(value())],
    ],
)
def test_a_value_used_as_a_number_is_refused_by_name(use: Callable[[], Any]) -> None:
    with pytest.raises(SupernetError, match="is not decided yet; give it to a layer of supernet") as error:
        use()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("layer", [lambda: nn.Linear(value(), 3), lambda: nn.BatchNorm2d(value() * 2)])
def test_sizes_that_torch_reads_itself_are_named_by_the_space(layer: Callable[[], nn.Module]) -> None:
    with pytest.raises(SupernetError, match=r"needs a number .* use a layer of supernet"):
        Space(lambda: nn.Sequential(layer()))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Choice([3, 3]), "must differ"),
        (lambda: Choice([1, "1"]), "must differ"),
        (lambda: Choice(range(0)), "at least one"),
        (lambda: Choice(range(10**9)), "at most 1000"),
        (lambda: Choice([float("nan"), 1]), "must be finite"),
        (lambda: Choice([float("inf")]), "must be finite"),
        (lambda: Choice(["a/b", "c"]), "without '/'"),
        (lambda: Choice([1, 2], k=2), "k must be 1"),
        (lambda: Choice(None), "takes a list of options or a mapping"),
        (lambda: Choice(5), "takes a list of options or a mapping"),
        (lambda: rounded("a"), "takes a number or a choice of numbers"),
        (lambda: Space(3), "takes a network class, a function"),
        (lambda: Space(lambda: nn.Sequential(nn.MaxPool2d(Choice([2, 3])))), "'0/kernel_size' decides nothing"),
        (lambda: Choice([1, 2], default=3), "unknown default of a Choice '3'"),
        (lambda: Choice([1, 2], mark="trainble"), "did you mean 'trainable'"),
        (lambda: Choice([1, 2], share=""), "share='' must be a non-empty string"),
        (lambda: Choice([1, 2]) * "a", "cannot be combined with 'a'"),
        (lambda: Choice([1, 2]) * True, "cannot be combined with True"),
        (lambda: Choice([nn.Identity, nn.ReLU]) * 2, "a choice of modules has no value"),
        (lambda: rounded(Choice([8]), 0), "divisor must be a whole number"),
        (lambda: Linear(Choice([1, 2]) // 0, 3), "cannot compute"),
        (lambda: Linear(Choice(["a", "b"]) + 1, 3), "cannot compute"),
    ],
)
def test_mistakes_are_one_line(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(SupernetError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


LAST = 30
NESTED = {
    "sums": "{{add: [a{0}, a{0}]}}",
    "differences": "{{sub: [a{0}, a{0}]}}",
    "sums of unequal terms": "{{add: [a{0}, {{sub: [a{0}, 1]}}]}}",
    "quotients": "{{floordiv: [{{add: [a{0}, a{0}]}}, 2]}}",
    "roundings": "{{rounded: [{{mul: [a{0}, a{0}]}}, 2]}}",
    "lists": "[a{0}, a{0}]",
}


def nested(term: str, last: int, use: str = "{conv: {in_channels: 3, out_channels: a%d, kernel_size: 1}}") -> str:
    lets = [f"    a{i}: {term.format(i - 1)}" for i in range(1, last + 1)]
    head = ["schema: 1", "name: x", "network:", "  let:", "    a0: {choice: [1, 2]}"]
    return "\n".join([*head, *lets, f"  body: [{use % last}]"]) + "\n"


@pytest.mark.parametrize("term", NESTED)
@pytest.mark.parametrize("use", ["{conv: {in_channels: 3, out_channels: a%d, kernel_size: 1}}", "{activation: a%d}"])
def test_thirty_nested_values_are_refused_within_a_second(term: str, use: str) -> None:
    text = nested(NESTED[term], LAST, use)
    assert len(text) < 1500
    begin = time.process_time()
    with pytest.raises(SupernetError, match=r"network\.let\.a\d+.*(at most 2,000|more than 1,000 entries)") as caught:
        Space.from_yaml(text)
    assert time.process_time() - begin < 1 and "\n" not in str(caught.value) and len(str(caught.value)) < 200


def test_a_nested_sum_in_python_is_refused_too() -> None:
    value = Choice([1, 2])
    for _ in range(10):
        value = value + value
    assert value.size == 2**10 - 1 <= MOST_OPERATIONS  # type: ignore[attr-defined]
    with pytest.raises(SupernetError, match="2,047 operations"):
        value + value


def test_a_long_chain_is_a_value() -> None:
    """Forty sums, each of the one before and a number, and sums of eight of the same name: all of it counts once."""
    space = Space.from_yaml(nested("{{add: [a{0}, 1]}}", 40))
    assert space.size == 2
    eight = nested("{{add: [" + ", ".join(["a{0}"] * 8) + "]}}", 3)
    assert Space.from_yaml(eight).size == 2
