"""Predictor-guided search: a model learns the scores and steers what is looked at (White et al., arXiv:1910.11858).

sample points of the language, score them;   train an ensemble on them;   propose what it finds most promising

The ensemble is of ridge regressions on options and pairs of options, each on a sample of the points drawn with
replacement; the value of a candidate is a draw from the normal distribution of their predictions (independent Thompson
sampling, which BANANAS found best). BANANAS has five networks of dense layers; on tens of points a linear model with
pairs is as good and a hundred times cheaper. The four steps are those of "define a language, generate data from it,
train a network on them, let it guide the search".
"""

import random

import numpy as np
from numpy.typing import NDArray

from ...errors import SupernetError
from ...space import Genotype, Space
from ..strategy import STRATEGIES, Member, Strategy, Vector
from .features import Candidates, OneHot, distinct
from .sizes import place_sizes

__all__ = ["Predictor"]


@STRATEGIES.register("predictor")
class Predictor(Strategy):
    """`start` random points; then the best of about `candidates`, by `models` regressions with penalty `ridge`."""

    name = "predictor"
    remembers = ("members",)

    def __init__(
        self,
        space: Space,
        seed: int = 0,
        start: int = 15,
        candidates: int = 80,
        models: int = 5,
        ridge: float = 1.0,
        pairs: bool = True,
    ) -> None:
        super().__init__(space, seed)
        for key, value, least in (("start", start, 2), ("candidates", candidates, 1), ("models", models, 2)):
            if value < least:
                raise SupernetError(f"strategy predictor: {key}={value} must be {least} or more")
        if ridge <= 0:
            raise SupernetError(f"strategy predictor: ridge={ridge} must be above 0")
        self.start, self.models, self.ridge, self.pairs = start, models, ridge, pairs
        self.features, self.candidates = OneHot(place_sizes(space.root)), Candidates(space, candidates)
        self.members: list[Member] = []

    def propose(self, rng: random.Random) -> Genotype:
        points, scores = distinct(self.members)
        if self.proposed < self.start or len(points) < 2:
            return self.space.sample(rng)
        best = [points[at] for at in np.argsort(-scores)[:5]]
        offered = self.candidates(best, set(points), rng)
        if not offered:
            return self.space.sample(rng)
        predictions = self.predict(points, scores, offered, rng)
        draws = np.array([rng.gauss(0, 1) for _ in offered])
        values = predictions.mean(0) + predictions.std(0) * draws
        return self.space.decode(offered[int(np.argmax(values))])

    def predict(
        self, points: list[Vector], scores: NDArray[np.float64], offered: list[Vector], rng: random.Random
    ) -> NDArray[np.float64]:
        """What each regression says of `offered`, [models, points]."""
        kernel = self._kernel(self.features(points), self.features(points))
        across = self._kernel(self.features(offered), self.features(points))
        rows = []
        for _ in range(self.models):
            drawn = np.array([rng.randrange(len(points)) for _ in points])
            weights = np.bincount(drawn, minlength=len(points)).astype(float)
            rows.append(self._fitted(kernel, across, scores, weights))
        return np.stack(rows)

    def _kernel(self, one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
        """Products of the rows with all pairs of options as features: (x.x') + (x.x')^2 / places, [points, points]."""
        products = one @ other.T
        return products + products**2 / one.sum(1).max() if self.pairs else products

    def _fitted(
        self,
        kernel: NDArray[np.float64],
        across: NDArray[np.float64],
        scores: NDArray[np.float64],
        weights: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Ridge regression in its dual form, points weighed by how often they were drawn."""
        drawn = weights > 0
        noise = self.ridge / weights[drawn]
        centre = float(np.average(scores, weights=weights))
        scale = float(scores.std()) or 1.0
        target = (scores[drawn] - centre) / scale
        dual = np.linalg.solve(kernel[np.ix_(drawn, drawn)] + np.diag(noise), target)
        return centre + scale * (across[:, drawn] @ dual)

    def learn(self, vector: Vector, score: float) -> None:
        self.members.append((vector, score))
