"""The body `network`: a network written in the language, and a class of the user's own with its tree.

network:
  arguments: {num_classes: 10, in_chans: 3, channels: 16}     keyword arguments with defaults, numbers by name
  let: {width: {choice: [16, 32]}, block: {seq: [...]}}       named values and parts
  depth: 3                                                    how often a term may stand inside itself
  body: {seq: {stem: ..., head: ...}}                         the parts: builder.py
"""

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ...errors import SupernetError
from .fields import FormError, brief, fields, mapping, name, plain, whole
from .strict import Data

if TYPE_CHECKING:
    from torch import nn

__all__ = ["NetworkForm"]

MOST_DEPTH = 16


class NetworkForm:
    """A network as it is written, and a function that builds it: its keyword arguments are those of the document."""

    def __init__(self, data: object, allow: tuple[str, ...], label: str) -> None:
        own = fields(data, "network", {"arguments", "let", "depth", "body"}, required=("body",))
        self.arguments = {
            name(key, "network.arguments"): plain(value, f"network.arguments.{key}")
            for key, value in mapping(own.get("arguments", {}), "network.arguments").items()
        }
        for key in self.arguments:
            if not key.isidentifier():
                raise FormError(f"network.arguments: {key!r} is no name of an argument")
        self.let = mapping(own.get("let", {}), "network.let")
        self.depth = whole(own["depth"], "network.depth", 1, MOST_DEPTH) if "depth" in own else None
        self.document: Mapping[str, Data] = own
        self.body, self.allow = own["body"], allow
        self.__name__ = self.__qualname__ = label
        self.__signature__ = inspect.Signature(
            [inspect.Parameter(k, inspect.Parameter.KEYWORD_ONLY, default=v) for k, v in self.arguments.items()]
        )

    def __call__(self, **arguments: object) -> "nn.Module":
        """The network, its choices undecided."""
        from .builder import Builder  # needs torch
        from .scope import Scope

        for key in arguments:
            if key not in self.arguments:
                raise SupernetError(f"the network {self.__name__!r} has no argument {brief(key)}")
        scope = Scope({**self.arguments, **arguments}, self.let, "network")
        try:
            return Builder(scope, self.depth, self.allow).network(self.body, "network.body")
        except SupernetError:
            raise
        except (TypeError, ValueError, RuntimeError, ArithmeticError, LookupError) as error:
            raise FormError(f"network: {brief(str(error), 160)}") from error
