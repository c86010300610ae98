"""Bayesian optimisation with a Gaussian process (Snoek, Larochelle, Adams, NeurIPS 2012, arXiv:1206.2944).

k(x, x') = s exp(-d(x, x') / l^2) + noise                     d: in how many places the points differ (Hamming)
EI(x) = (m - y_best) Phi(z) + sigma phi(z),  z = (m - y_best) / sigma        m, sigma: what the process says of x

The next point is the candidate of the largest expected improvement, or of the largest value of one draw from the
process (Thompson sampling). scikit-learn's process; on one-hot rows its RBF kernel is that of the Hamming distance.
"""

import random
import warnings

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from ...errors import SupernetError, unknown
from ...space import Genotype, Space
from ..strategy import STRATEGIES, Member, Strategy, Vector
from .features import Candidates, OneHot, distinct
from .sizes import place_sizes

__all__ = ["GaussianProcess"]

ACQUISITIONS = ("expected_improvement", "thompson")


@STRATEGIES.register("gaussian_process")
class GaussianProcess(Strategy):
    """`start` random points; then one of about `candidates` a proposal. The kernel is fitted every `refit` points.

    Past `most` points the process takes the best half of them and the last ones: its time grows with the cube.
    """

    name = "gaussian_process"
    remembers = ("members", "theta", "fitted")

    def __init__(
        self,
        space: Space,
        seed: int = 0,
        start: int = 10,
        candidates: int = 60,
        refit: int = 20,
        acquisition: str = "expected_improvement",
        most: int = 400,
    ) -> None:
        super().__init__(space, seed)
        for key, value in (("start", start), ("candidates", candidates), ("refit", refit), ("most", most)):
            if value < 2:
                raise SupernetError(f"strategy gaussian_process: {key}={value} must be 2 or more")
        if acquisition not in ACQUISITIONS:
            raise SupernetError(unknown("acquisition", acquisition, ACQUISITIONS))
        self.start, self.refit, self.acquisition, self.most = start, refit, acquisition, most
        self.features, self.candidates = OneHot(place_sizes(space.root)), Candidates(space, candidates)
        self.members: list[Member] = []
        self.theta: list[float] = []  # the kernel's constants, as logarithms; empty before the first fit
        self.fitted = 0  # points at the last fit of the kernel

    def propose(self, rng: random.Random) -> Genotype:
        points, scores = distinct(self.members)
        if self.proposed < self.start or len(points) < 2:
            return self.space.sample(rng)
        best = [points[at] for at in np.argsort(-scores)[:5]]
        offered = self.candidates(best, set(points), rng)
        if not offered:
            return self.space.sample(rng)
        mean, deviation = self.predict(offered)
        if self.acquisition == "thompson":
            values = mean + deviation * np.array([rng.gauss(0, 1) for _ in offered])
        else:
            values = expected_improvement(mean, deviation, float(scores.max()))
        return self.space.decode(offered[int(np.argmax(values))])

    def predict(self, vectors: list[Vector]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(mean [points], standard deviation [points]) of the scores of `vectors`."""
        model = self._model()
        mean, deviation = model.predict(self.features(vectors), return_std=True)
        return np.asarray(mean), np.asarray(deviation)

    def _model(self) -> GaussianProcessRegressor:
        points, scores = distinct(self.members)
        if len(points) > self.most:
            taken = sorted({*np.argsort(-scores)[: self.most // 2], *range(len(points) - self.most // 2, len(points))})
            points, scores = [points[at] for at in taken], scores[taken]
        refits = not self.theta or len(points) >= self.fitted + self.refit
        kernel = ConstantKernel(1.0, (0.05, 20)) * RBF(2.0, (0.5, 20)) + WhiteKernel(0.05, (1e-4, 1.0))
        if self.theta:
            kernel.theta = np.array(self.theta)
        model = GaussianProcessRegressor(kernel, normalize_y=True, optimizer="fmin_l_bfgs_b" if refits else None)
        with warnings.catch_warnings():  # a constant at its bound is an answer: few points may want no noise at all
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(self.features(points), scores)
        if refits:
            self.theta, self.fitted = [float(value) for value in model.kernel_.theta], len(points)
        return model

    def learn(self, vector: Vector, score: float) -> None:
        self.members.append((vector, score))


def expected_improvement(mean: NDArray[np.float64], deviation: NDArray[np.float64], best: float) -> NDArray[np.float64]:
    """How much better than `best` a normal variable is on average, where it is better at all; of any shape."""
    deviation = np.maximum(deviation, 1e-12)
    z = (mean - best) / deviation
    return np.asarray((mean - best) * norm.cdf(z) + deviation * norm.pdf(z))
