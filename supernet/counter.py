"""Counted randomness: numbers that depend on labels and on nothing else.

A generator hands out numbers in the order it is asked, so a draw depends on every draw before it: on the batch size,
on the number of workers, on where a run was resumed. Here a number is a function of (seed, stream, epoch, index, draw),
mixed with the finaliser of splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA
2014, https://doi.org/10.1145/2660193.2660195). Only numpy's integer arithmetic is used, so the values are the same in
every version and on every machine; the test freezes some.
"""

import hashlib
import json

import numpy as np
from numpy.typing import NDArray

__all__ = ["derive", "permutation", "uniform"]

_GOLDEN = np.array(0x9E3779B97F4A7C15, dtype=np.uint64)  # an array: scalars would warn where they wrap around
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def derive(seed: int, *labels: int | str) -> int:
    """A seed in 0..2^63-1 for another generator, from `seed` and any labels.

    Labels are written as JSON first, so that ("a", "b") and ("ab",), or 1 and "1", give different seeds.
    """
    return _digest(seed, *labels) >> 1


def uniform(seed: int, stream: str, epoch: int, index: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Numbers in [0, 1), shape [len(index), count]: row i belongs to sample index[i] alone, whatever its batch."""
    return (_bits(seed, stream, epoch, index, count) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permutation(seed: int, stream: str, epoch: int, n: int) -> NDArray[np.int64]:
    """The numbers 0..n-1 in a counted order, shape [n]: a sort of 64-bit keys, one for each number."""
    keys = _bits(seed, stream, epoch, np.arange(n, dtype=np.int64), 1)[:, 0]
    return np.argsort(keys, kind="stable").astype(np.int64, copy=False)


def _digest(*labels: int | str) -> int:
    text = json.dumps([int(label) if not isinstance(label, str) else label for label in labels])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def _bits(seed: int, stream: str, epoch: int, index: NDArray[np.int64], count: int) -> NDArray[np.uint64]:
    # Two rounds: one finds a sample's own splitmix64 sequence, one steps through it.
    key = np.array(_digest(seed, stream, epoch), dtype=np.uint64)
    sample = _mix(key + np.asarray(index, dtype=np.int64).astype(np.uint64) * _GOLDEN)
    return _mix(sample[:, None] + np.arange(1, count + 1, dtype=np.uint64)[None, :] * _GOLDEN)


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = (x ^ (x >> np.uint64(30))) * _FIRST
    x = (x ^ (x >> np.uint64(27))) * _SECOND
    return x ^ (x >> np.uint64(31))
