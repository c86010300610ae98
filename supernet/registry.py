"""A registry: names to builders, one decorator, one error for an unknown name."""

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Generic, TypeVar, cast

from .errors import SupernetError, unknown

__all__ = ["Registry"]

T = TypeVar("T", covariant=True)  # a registry of narrower entries serves where wider ones are read
E = TypeVar("E")


class Registry(Generic[T]):
    """Names of one kind of part (operations, spaces, executors ...) and what builds each.

    >>> OPS: Registry[type] = Registry("operation")
    >>> @OPS.register("skip_connect")
    ... class Skip: ...
    >>> OPS["skip_connect"] is Skip
    True
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}
        self._modules: dict[str, str] = {}  # names whose module is not imported yet

    def register(self, name: str) -> Callable[[E], E]:
        """Decorator that enters its object under `name`; a second entry of that name raises SupernetError."""

        def enter(entry: E) -> E:
            if name in self._entries:
                raise SupernetError(f"{self.kind} {name!r} is registered twice; choose another name")
            self._entries[name] = cast(T, entry)  # a decorated function keeps its own, narrower type
            return entry

        return enter

    def lazy(self, name: str, module: str) -> None:
        """`module`, a dotted name, registers `name`; it is imported when the entry is first asked for."""
        self._modules[name] = module

    def __getitem__(self, name: str) -> T:
        if isinstance(name, str) and name in self._modules and name not in self._entries:
            import_module(self._modules[name])
        try:
            return self._entries[name]
        except (KeyError, TypeError):
            raise SupernetError(unknown(self.kind, name, list(self))) from None

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name in self._entries or name in self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._entries, *self._modules}))

    def __len__(self) -> int:
        return len({*self._entries, *self._modules})
