"""Weights drawn from a seed of their own, without touching torch's global generator."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..errors import SupernetError

__all__ = ["seeded"]


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Inside, torch draws from `seed`; the CPU generator is put back afterwards. None changes nothing."""
    if seed is None:
        yield
        return
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise SupernetError(f"seed={seed!r:.40} must be a whole number or None")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
