"""Counts the calls of the fused operators, so that a test can tell a fused path from one that quietly took another."""

from collections import Counter
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["Calls"]


class Calls(TorchDispatchMode):
    """`of` has the number of calls inside the context by the operator's name, backward passes included."""

    def __init__(self) -> None:
        super().__init__()
        self.of: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "supernet":
            self.of[func._schema.name.partition("::")[2]] += 1
        return func(*args, **(kwargs or {}))
