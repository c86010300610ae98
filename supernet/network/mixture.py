"""`Mixture`: what one pass of a relaxed network runs, and with which weights; all that a method hands to a network.

A site is a place where mixing weights enter: a cell, or a choice. Several sites may read one table of alphas, and a
mixture may still give each of them weights of its own.
"""
# E edges (rows of a table), O operations (columns)

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

from torch import Tensor

__all__ = ["HostMask", "Mask", "Mixture", "full", "mixture_of", "split_gate"]

HostMask: TypeAlias = tuple[tuple[bool, ...], ...]
Mask: TypeAlias = HostMask | Tensor


class Mixture(NamedTuple):
    """Mixing weights p [E, O] and a mask [E][O] a site, in the order of `Body.sites`.

    What a mask on the host leaves out costs nothing. A mask that is a tensor [E, O] of zeros and ones is read on the
    device, and nothing waits for it; where no kernel reads it, everything runs and is multiplied by it.
    """

    p: tuple[Tensor, ...]
    mask: tuple[Mask, ...]


def mixture_of(sites: Sequence[str], p: Mapping[str, Tensor], masks: Mapping[str, Mask]) -> Mixture:
    """The mixture in which each site has the p [E, O] and the mask [E, O] of its table."""
    return Mixture(tuple(p[site] for site in sites), tuple(masks[site] for site in sites))


def split_gate(p: Tensor, mask: Mask) -> tuple[Tensor, HostMask]:
    """(p [E, O], mask on the host) for what has no kernel: of a mask on the device p * mask, and everything runs."""
    return (p * mask, full(p)) if isinstance(mask, Tensor) else (p, mask)


def full(p: Tensor) -> HostMask:
    """The mask [E][O] of mixing weights `p` [E, O] of which everything runs."""
    rows, columns = p.shape
    return ((True,) * columns,) * rows
