"""Which modules of a network a set of rules names: globs over module names, or predicates.

`*` matches any text, dots too: "layer*.conv2" is every conv2 below layer1, layer2 ... A module under several names is
one module, known by the first, whichever of them a rule matches.
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn

from ...errors import SupernetError

__all__ = ["ORIGINAL", "Alternative", "Rule", "Rules", "Site", "find_sites"]

ORIGINAL = "original"

Rule = str | Callable[[str, nn.Module], bool]
Alternative = Callable[[nn.Module], nn.Module | None]
Rules = Mapping[Rule, Mapping[str, Alternative]]


@dataclass(frozen=True)
class Site:
    """A module to which a rule gives alternatives; `names` are all that it has in the network, dotted."""

    names: tuple[str, ...]
    rule: str
    alternatives: Mapping[str, Alternative]

    @property
    def name(self) -> str:
        return self.names[0]


def find_sites(model: nn.Module, rules: Rules) -> list[Site]:
    """What the rules match, in the order of the network.

    Raises SupernetError for a rule that matches nothing, for a module that two rules match and for one inside another.
    """
    if not isinstance(rules, Mapping) or not rules:
        raise SupernetError('wrap takes rules: {"layer*.conv2": {"k5": kernel(5)}}, a pattern to named alternatives')
    names: dict[nn.Module, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if name:
            names.setdefault(module, []).append(name)
    sites: dict[nn.Module, Site] = {}
    for rule, alternatives in rules.items():
        shown = repr(rule) if isinstance(rule, str) else getattr(rule, "__name__", repr(rule))
        _check_alternatives(shown, alternatives)
        matching = [m for m, known in names.items() if any(_matches(rule, name, m) for name in known)]
        if not matching:
            raise SupernetError(_nothing(rule, shown, [name for known in names.values() for name in known]))
        for module in matching:
            if module in sites:
                raise SupernetError(
                    f"rules {sites[module].rule} and {shown} both match module {names[module][0]!r}; keep it in one"
                )
            sites[module] = Site(tuple(names[module]), shown, alternatives)
    _refuse_nested(sites)
    return [sites[module] for module in names if module in sites]


def _matches(rule: Rule, name: str, module: nn.Module) -> bool:
    return fnmatchcase(name, rule) if isinstance(rule, str) else bool(rule(name, module))


def _check_alternatives(shown: str, alternatives: Mapping[str, Alternative]) -> None:
    if not isinstance(alternatives, Mapping) or not alternatives:
        raise SupernetError(f'rule {shown} needs named alternatives, such as {{"k5": kernel(5)}}')
    for name, make in alternatives.items():
        if name == ORIGINAL:
            raise SupernetError(f"rule {shown}: {ORIGINAL!r} names the module itself; choose another name")
        if hasattr(nn.ModuleDict, str(name)):
            raise SupernetError(f"rule {shown}: option {name!r} is a name that nn.Module uses itself; choose another")
        if isinstance(make, nn.Module) or not callable(make):
            raise SupernetError(
                f"rule {shown}, option {name!r}: give a function of the original module (lambda conv: ...), "
                f"not {type(make).__name__}"
            )


def _nothing(rule: Rule, shown: str, names: list[str]) -> str:
    if not isinstance(rule, str):
        return f"rule {shown} matches no module; it is called with (name, module) for each"
    close = difflib.get_close_matches(rule, names, n=4, cutoff=0.3)
    hint = "nearest names: " if close else "its modules: "
    return f"rule {shown} matches no module; {hint}{', '.join(close or names[:8]) or 'none'}"


def _refuse_nested(sites: Mapping[nn.Module, Site]) -> None:
    for module, site in sites.items():
        for inner in module.modules():
            if inner is not module and inner in sites:
                other = sites[inner]
                raise SupernetError(
                    f"rule {other.rule} matches {other.name!r}, which is inside {site.name!r}, matched by {site.rule}; "
                    "narrow one ([0-9] is one digit, * crosses dots), or give a predicate (name, module) -> bool"
                )
