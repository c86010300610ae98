"""Builds the network that a document describes, part by part; every mistake is told with where it stands.

A part is a mapping with one of the keys of `HEADS`, a list (parts one behind the other), or the name of one that needs
nothing. What is built is bounded: in parts, in how deep they stand in one another, and in weights.
"""

from collections import Counter
from collections.abc import Mapping

import torch
from torch import nn

from ...errors import SupernetError, unknown
from ..choice import Choice
from ..layers import Repeat
from ..value import ValueChoice, choices_of
from .arguments import check_sizes, layer_arguments
from .classes import find_class
from .fields import FormError, brief, fields, items, mapping, name, one_of, text, whole
from .leaves import LEAVES, Own
from .modules import LAYERS, Chain, Gate, Parallel, Residual
from .scope import Scope
from .values import is_number, read_value, settings_of

__all__ = ["HEADS", "Builder"]

MOST_PARTS = 2_000  # the largest network of the zoo has some 500
MOST_PLACES = 256  # of undecided blocks inside one another; each adds a copy of its decisions for every count
MOST_NESTED = 40  # parts inside one another; copying a module takes some 15 frames of the interpreter a level
MOST_WEIGHTS = 10**9

# Key of a part -> the other keys that it may have.
HEADS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(LAYERS, ()),
    "choice": ("share", "k", "mark", "default"),
    "class": ("arguments",),
    "dropout": (),
    "flatten": (),
    "gate": (),
    "identity": (),
    "op": ("c_in", "c_out", "stride", "affine"),
    "parallel": ("join",),
    "pool": ("kernel_size", "stride"),
    "ref": ("with",),
    "repeat": (),
    "residual": ("shortcut",),
    "seq": ("let", "residual"),
    "tokens": (),
}


_EMPTY = nn.Sequential()  # has the names that no part may have


class TooDeepError(FormError):
    """A `ref` stands deeper inside itself than `depth` allows; the choice around it leaves the option out."""


class Builder:
    """Builds one network; `depth` bounds how often a term may stand inside itself, None: never."""

    def __init__(self, scope: Scope, depth: int | None, allow: tuple[str, ...]) -> None:
        self.scope, self.depth, self.allow = scope, depth, allow
        self._open: Counter[str] = Counter()  # terms that are being built
        self._parts = self._weights = self._nested = 0
        self._places = 1

    def network(self, body: object, where: str) -> nn.Module:
        """The whole network; named values become its attributes."""
        own = {"seq": body} if isinstance(body, list) else body
        residual: object = False
        if isinstance(own, Mapping) and "seq" in own and "let" not in own:
            own = fields(own, where, {"seq", "residual"})
            parts, residual = self._all(own["seq"], self.scope, f"{where}.seq"), own.get("residual", False)
        else:
            parts = {"body": self.part(body, self.scope, where)}
        if unused := self.scope.unused():
            raise FormError(f"{self.scope.where}.let.{unused[0]} is not used anywhere")
        return _chain(parts, self.scope, residual, where)

    def part(self, node: object, scope: Scope, where: str) -> nn.Module:
        """The module that `node` describes."""
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise FormError(f"{where}: the network has more than {MOST_PARTS:,} parts")
        if self._nested >= MOST_NESTED:
            raise FormError(f"{where}: parts stand in one another more than {MOST_NESTED} deep")
        node = {"seq": node} if isinstance(node, list) else {node: None} if isinstance(node, str) else node
        heads = [head for head in HEADS if isinstance(node, Mapping) and head in node]
        heads = ["seq"] if "seq" in heads and "residual" in heads else heads
        if len(heads) > 1:
            raise FormError(f"{where}: a part is one of {' and '.join(heads)}, not more of them")
        if not heads:
            key = next(iter(node), "") if isinstance(node, Mapping) else node
            raise FormError(f"{where}: {unknown('part', key, HEADS)}")
        own = fields(node, where, {heads[0], *HEADS[heads[0]]})
        self._nested += 1
        try:
            module = self._make(heads[0], own, scope, f"{where}.{heads[0]}")
        except RecursionError:
            raise FormError(f"{where}: parts stand in one another too deep") from None
        self._nested -= 1
        return module

    def _make(self, head: str, own: Own, scope: Scope, where: str) -> nn.Module:
        if head in LAYERS:
            return self._counted(self._layer(head, own[head], scope, where), where)
        if head in LEAVES:
            return self._counted(LEAVES[head](own, scope, where), where)
        return getattr(self, f"_{head}")(own, scope, where)

    def _counted(self, module: nn.Module, where: str) -> nn.Module:
        self._weights += sum(p.numel() for p in module.parameters())
        if self._weights > MOST_WEIGHTS:
            raise FormError(f"{where}: the network has more than {MOST_WEIGHTS:,} weights")
        return module

    def _all(self, node: object, scope: Scope, where: str) -> dict[str, nn.Module]:
        parts = {}
        for key, part in items(node, where).items():
            if hasattr(_EMPTY, name(key, where)) or key in ("parts", "residual"):
                raise FormError(f"{where}: the name {key!r} is taken by modules themselves; choose another")
            parts[key] = self.part(part, scope, f"{where}.{key}")
        return parts

    def _layer(self, head: str, node: object, scope: Scope, where: str) -> nn.Module:
        arguments = layer_arguments(LAYERS[head], node, scope, where)
        try:
            layer = LAYERS[head](**arguments)
            check_sizes(layer, where)
            return layer
        except FormError:
            raise
        except SupernetError as error:
            raise FormError(f"{where}: {error}") from None
        except (TypeError, ValueError, RuntimeError, OverflowError) as error:
            raise FormError(f"{where}: {brief(str(error), 160)}") from None

    def _seq(self, own: Own, scope: Scope, where: str) -> nn.Module:
        inner = Scope.within(scope, own["let"], where) if "let" in own else Scope({}, {}, where, scope)
        parts = self._all(own["seq"], inner, where)
        if unused := inner.unused():
            raise FormError(f"{where}.let.{unused[0]} is not used in this part")
        return _chain(parts, inner, own.get("residual", False), where)

    def _residual(self, own: Own, scope: Scope, where: str) -> nn.Module:
        body = self.part(own["residual"], scope, where)
        return Residual(body, self.part(own["shortcut"], scope, f"{where}.shortcut") if "shortcut" in own else None)

    def _parallel(self, own: Own, scope: Scope, where: str) -> nn.Module:
        join = one_of(own.get("join", "sum"), f"{where}.join", ("sum", "concat"))
        branches = self._all(own["parallel"], scope, where)
        return Parallel(branches, join)

    def _choice(self, own: Own, scope: Scope, where: str) -> nn.Module:
        options: dict[str, nn.Module] = {}
        deep: TooDeepError | None = None
        written = items(own["choice"], where)
        for key, option in written.items():
            before = self._nested, self._places, self._open.copy()
            try:
                options[name(key, where)] = self.part(option, scope, f"{where}.{key}")
            except TooDeepError as error:
                deep = error
                self._nested, self._places, self._open = before
        if not options and deep is not None:
            raise deep
        settings = settings_of(own, where)
        if "default" in settings and one_of(settings["default"], f"{where}.default", written) not in options:
            del settings["default"]  # an option that was too deep
        k = whole(own.get("k", 1), f"{where}.k", 1)
        try:
            return Choice(options, k=k, **settings)
        except SupernetError as error:
            raise FormError(f"{where}: {error}") from None

    def _repeat(self, own: Own, scope: Scope, where: str) -> nn.Module:
        repeat = fields(own["repeat"], where, {"count", "first", "of"}, required=("count", "of"))
        count = read_value(repeat["count"], scope, f"{where}.count")
        if not is_number(count):
            raise FormError(f"{where}.count: {brief(count)} must be a number or a choice of numbers")

        undecided, outer = bool(choices_of(count)), self._places

        def make(i: int) -> nn.Module:
            self._places = outer * (i + 1 if undecided else 1)
            if self._places > MOST_PLACES:
                raise FormError(f"{where}: blocks of undecided number have more than {MOST_PLACES} places")
            key = "first" if i == 0 and "first" in repeat else "of"
            return self.part(repeat[key], scope, f"{where}.{key}")

        try:
            if undecided:
                return Repeat(make, count)
            return nn.Sequential(*(make(i) for i in range(whole(count, f"{where}.count", 0, 1000))))
        except FormError:
            raise
        except SupernetError as error:
            raise FormError(f"{where}: {error}") from None
        finally:
            self._places = outer

    def _ref(self, own: Own, scope: Scope, where: str) -> nn.Module:
        term = own["ref"]
        home = scope.home(term) if isinstance(term, str) else None
        if home is None or term not in home.terms:
            raise FormError(
                f"{where}: {unknown('term of let', term, [n for n in scope.names() if n not in self.scope.values])}"
            )
        there = f"{home.where}.let.{term}"
        if self._open[there] and self.depth is None:
            raise FormError(
                f"{where}: the term {term!r} stands inside itself; say how often with `depth: 3` beside `let`"
            )
        if self._open[there] >= (self.depth or 1):
            raise TooDeepError(f"{where}: the term {term!r} stands inside itself without an option that ends it")
        values = {
            name(key, f"{where}.with"): read_value(value, scope, f"{where}.with.{key}", texts=True)
            for key, value in mapping(own.get("with", {}), f"{where}.with").items()
        }
        home.used.add(term)
        self._open[there] += 1
        module = self.part(home.terms[term], Scope(values, {}, where, home), there)
        self._open[there] -= 1
        return module

    def _gate(self, own: Own, scope: Scope, where: str) -> nn.Module:
        return Gate(self.part(own["gate"], scope, where))

    def _class(self, own: Own, scope: Scope, where: str) -> nn.Module:
        written = mapping(own.get("arguments", {}), f"{where}.arguments")
        user_class = find_class(text(own["class"], where), self.allow, where)
        arguments = {key: read_value(v, scope, f"{where}.arguments.{key}", texts=True) for key, v in written.items()}
        try:
            return self._counted(_instance(user_class, arguments), where)
        except Exception as error:  # the user's own code may raise anything
            raise FormError(
                f"{where}: {user_class.__name__}(...): {type(error).__name__}: {brief(str(error), 160)}"
            ) from None


def _instance(user_class: type[nn.Module], arguments: dict[str, object]) -> nn.Module:
    """An instance; classes that compute while they are built cannot stand on the meta device, where trees are read."""
    try:
        return user_class(**arguments)
    except Exception:
        if torch.empty(0).device.type != "meta":
            raise
        with torch.device("cpu"):
            return user_class(**arguments)


def _chain(parts: dict[str, nn.Module], scope: Scope, residual: object, where: str) -> nn.Module:
    """The parts in a row: torch's own Sequential where nothing else is asked for."""
    residual = read_value(residual, scope, f"{where}.residual")
    if not isinstance(residual, bool):
        raise FormError(f"{where}.residual: {brief(residual)} must be true or false")
    values = {key: value for key, value in scope.own_values().items() if isinstance(value, ValueChoice)}
    for key in values:
        if key in parts or hasattr(_EMPTY, key) or key in ("parts", "residual"):
            raise FormError(f"{where}.let.{key}: a part has this name")
    if values or residual:
        return Chain(parts, values, residual)
    sequence = nn.Sequential()
    for key, part in parts.items():
        sequence.add_module(key, part)
    return sequence
