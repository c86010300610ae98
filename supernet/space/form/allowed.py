"""Which networks of one's own timm may import when it opens an exported folder: what the user has said, and no more.

A folder from a stranger names a class by its import path; importing it runs code. So the user says beforehand whose
code that may be, in Python or in the environment:

    supernet.allow_networks("mypkg.nets")            SUPERNET_ALLOW_NETWORKS=mypkg.nets,mypkg.blocks
"""

import os

from .classes import check_allow

__all__ = ["VARIABLE", "allow_networks", "allowed_networks"]

VARIABLE = "SUPERNET_ALLOW_NETWORKS"
_allowed: list[str] = []


def allow_networks(*prefixes: str) -> None:
    """Let exported folders name classes below these import paths, such as "mypkg.nets", in this process.

    Raises SupernetError for a text that begins no import path.
    """
    _allowed.extend(prefix for prefix in check_allow(prefixes) if prefix not in _allowed)


def allowed_networks() -> tuple[str, ...]:
    """What `allow_networks` and the environment allow."""
    named = [word.strip() for word in os.environ.get(VARIABLE, "").split(",")]
    return check_allow([*_allowed, *filter(None, named)])
