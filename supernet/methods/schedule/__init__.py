"""Schedules: the phases of a search."""

from . import dots, p_darts, progressive, then_select, untrained

__all__ = ["dots", "p_darts", "progressive", "then_select", "untrained"]
