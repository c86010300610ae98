"""Exports of spaces that are not registered: the folder brings the space as data, and timm opens it."""

from .spaces import opened_space, written_space
from .weights import fit_head

__all__ = ["fit_head", "opened_space", "written_space"]
