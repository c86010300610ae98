"""How a settings class refuses a value."""

from ..errors import SupernetError

__all__ = ["require"]


def require(holds: bool, message: str) -> None:
    """Raises SupernetError with `message` unless it `holds`."""
    if not holds:
        raise SupernetError(message)
