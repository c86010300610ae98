"""Schedules: the phases of a search."""

from . import p_darts, then_select

__all__ = ["p_darts", "then_select"]
