"""What every part of a method has: a state that checkpoints hold."""

from collections.abc import Mapping
from typing import Any

__all__ = ["Part"]


class Part:
    """Base of all parts; those with a state override both methods with plain containers and tensors."""

    def state_dict(self) -> dict[str, Any]:
        """The state; empty where the part has none."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state_dict` gave."""
        if state:
            raise ValueError(f"{type(self).__name__} has no state, but was given {sorted(state)}")
