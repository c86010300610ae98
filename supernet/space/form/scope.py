"""The names that a part of a written network may use: arguments, what a `ref` hands over, and the terms of `let`."""

from collections.abc import Callable, Mapping

from .fields import FormError, mapping, name

__all__ = ["Scope"]


class Scope:
    """`values` are known; `terms` are read when they are first used, and a value is then kept: it is one decision."""

    def __init__(
        self, values: Mapping[str, object], terms: Mapping[str, object], where: str, outer: "Scope | None" = None
    ) -> None:
        self.values, self.where, self.outer = dict(values), where, outer
        self.terms = dict(terms)
        self.used: set[str] = set()
        self._reading: set[str] = set()
        for key in terms:
            name(key, f"{where}.let")
            if key in self.values:
                raise FormError(f"{where}.let.{key}: an argument has this name")

    @classmethod
    def within(cls, outer: "Scope", terms: object, where: str) -> "Scope":
        """A scope of its own for the terms of a `let`, inside `outer`."""
        return cls({}, mapping(terms, f"{where}.let"), where, outer)

    def __contains__(self, key: object) -> bool:
        return key in self.values or key in self.terms or (self.outer is not None and key in self.outer)

    def names(self) -> list[str]:
        """Every name that may be used here."""
        return [*self.values, *self.terms, *(self.outer.names() if self.outer else ())]

    def home(self, key: str) -> "Scope | None":
        """The innermost scope that knows the name."""
        if key in self.values or key in self.terms:
            return self
        return self.outer.home(key) if self.outer else None

    def value(self, key: str, read: Callable[..., object], where: str) -> object:
        """The value of a name that is in scope."""
        home = self.home(key)
        if home is None:
            raise KeyError(key)
        if key not in home.values:
            if key in home._reading:
                raise FormError(f"{where}: the value {key!r} is defined by itself")
            home._reading.add(key)
            home.used.add(key)
            home.values[key] = read(home.terms[key], home, f"{home.where}.let.{key}")
        return home.values[key]

    def own_values(self) -> dict[str, object]:
        """The terms that were used as values, in the order of `let`."""
        return {key: self.values[key] for key in self.terms if key in self.values}

    def unused(self) -> list[str]:
        """The terms that nothing has used."""
        return [key for key in self.terms if key not in self.used]
