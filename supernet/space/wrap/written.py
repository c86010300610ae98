"""The written form of alternatives: what a rule of `wrap` says as data, and the function that the data name.

identity                    a ready alternative without arguments, by its name
{kernel: 5}                 one with an argument
"""

from collections.abc import Callable, Mapping

from ...errors import SupernetError, unknown
from .convolution import depthwise, kernel, operation
from .identity import identity, without
from .marks import WRITTEN
from .rules import Alternative, Rule, Rules
from .width import bottleneck, width

__all__ = ["read_rules", "write_rules"]
# Alternatives without and with an argument, by their names in a file.
PLAIN: dict[str, Alternative] = {"depthwise": depthwise, "identity": identity, "without": without}
MADE: dict[str, Callable[..., Alternative]] = {
    "bottleneck": bottleneck, "kernel": kernel, "operation": operation, "width": width,
}  # fmt: skip


def write_rules(rules: Rules) -> dict[str, dict[str, object]]:
    """The rules as plain data; raises SupernetError, naming the rule, for one that is Python code."""
    names = {function: name for name, function in PLAIN.items()}
    found: dict[str, dict[str, object]] = {}
    for pattern, alternatives in rules.items():
        if not isinstance(pattern, str):
            shown = getattr(pattern, "__name__", "?")
            raise SupernetError(
                f"the rule {shown} of wrap is a function, which no file can hold: write it as a pattern of module names"
            )
        found[pattern] = {}
        for option, adapt in alternatives.items():
            data = names.get(adapt) or getattr(adapt, WRITTEN, None)
            if data is None:
                raise SupernetError(
                    f"rule {pattern!r}, option {option!r} of wrap is Python code, which no file can hold: take a ready "
                    "alternative (kernel, depthwise, operation, width, bottleneck, identity, without), or put the "
                    "choice into a network class of your own"
                )
            found[pattern][option] = data
    return found


def read_rules(data: object) -> Rules:
    """The rules that plain data describe; raises SupernetError, one line that says where, for anything else."""
    if not isinstance(data, Mapping) or not data:
        raise SupernetError("wrap.rules must map patterns of module names to alternatives: {'layer*.conv2': {k5: ...}}")
    rules: dict[Rule, dict[str, Alternative]] = {}
    for pattern, alternatives in data.items():
        where = f"wrap.rules, {str(pattern)[:60]!r}"
        if not isinstance(pattern, str) or not isinstance(alternatives, Mapping) or not alternatives:
            raise SupernetError(
                f"{where}: a pattern of module names needs named alternatives, such as k5: {{kernel: 5}}"
            )
        rules[pattern] = {}
        for option, how in alternatives.items():
            if not isinstance(option, str) or "." in option or not option.isprintable() or len(option) > 80:
                raise SupernetError(f"{where}: {str(option)[:60]!r} is no name of an option")
            rules[pattern][option] = _read(how, f"{where}, option {option!r}")
    return rules


def _read(how: object, where: str) -> Alternative:
    if isinstance(how, Mapping) and len(how) == 1:
        ((key, value),) = how.items()
        if key in MADE and isinstance(value, int | float | str):
            try:
                return MADE[key](value)
            except SupernetError as error:
                raise SupernetError(f"{where}: {error}") from None
        if key not in MADE:
            raise SupernetError(f"{where}: {unknown('alternative', str(key)[:60], MADE)}")
    if isinstance(how, str):
        if how in PLAIN:
            return PLAIN[how]
        raise SupernetError(f"{where}: {unknown('alternative', how[:60], [*PLAIN, *MADE])}")
    raise SupernetError(f"{where}: {str(how)[:60]!r} must be a name, such as identity, or {{kernel: 5}}")
