"""Points as rows of numbers for models, and the points that a model is asked about."""

import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...errors import SupernetError
from ...space import Space
from ..strategy import Vector

__all__ = ["Candidates", "OneHot", "distinct"]


class OneHot:
    """One 0 or 1 for each value of each place of the flat vector; a closed decision is a value of its own.

    Half the squared distance of two rows is the number of places in which the points differ (Hamming).
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        """`sizes` has the number of values of each place."""
        self._first = np.cumsum([0, *(size + 1 for size in sizes[:-1])]) + 1
        self.width = int(sum(sizes) + len(sizes))

    def __call__(self, vectors: Sequence[Vector]) -> NDArray[np.float64]:
        """Rows [points, width]."""
        rows = np.zeros((len(vectors), self.width))
        places = np.asarray(vectors) + self._first
        rows[np.arange(len(vectors))[:, None], places] = 1.0
        return rows


class Candidates:
    """Points to choose from: some random ones, and changes of the best so far. None that is known already."""

    def __init__(self, space: Space, count: int) -> None:
        self.space, self.count = space, count

    def __call__(self, best: Sequence[Vector], known: set[Vector], rng: random.Random) -> list[Vector]:
        """About `count` points; empty where all that were drawn are known."""
        found: dict[Vector, None] = {}
        for number in range(2 * self.count):
            if len(found) >= self.count:
                break
            if best and number % 2:
                vector = self._changed(rng.choice(best), rng)
            else:
                vector = tuple(self.space.encode(self.space.sample(rng)))
            if vector not in known:
                found[vector] = None
        return list(found)

    def _changed(self, vector: Vector, rng: random.Random) -> Vector:
        try:
            return tuple(self.space.encode(self.space.random_neighbour(self.space.decode(vector), rng)))
        except SupernetError:  # a point without neighbours
            return vector


def distinct(members: Sequence[tuple[Vector, float]]) -> tuple[list[Vector], NDArray[np.float64]]:
    """(points, mean score of each), every point once; scores that are not finite are left out."""
    scores: dict[Vector, list[float]] = {}
    for vector, score in members:
        if np.isfinite(score):
            scores.setdefault(vector, []).append(score)
    return list(scores), np.array([float(np.mean(values)) for values in scores.values()])
