"""The largest eigenvalue: against dense matrices and the trap of the absolute value; the windows that end a search."""
# A numbers of all alphas together

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from supernet.config import MethodConfig
from supernet.errors import SupernetError
from supernet.methods import Problem
from supernet.methods.curvature import alpha_products, dense, largest_eigenvalue
from supernet.methods.look import Ended
from supernet.methods.watcher.eigenvalue import ENTRY, Eigenvalue
from supernet.network.mixture import Mixture
from supernet.space import get_space
from tests.methods.test_parts import batches, step_of, tiny


def quadratic(values: np.ndarray[Any, Any]) -> Problem:
    """L = a^T H a / 2 of alphas in two tensors, where H has these eigenvalues."""
    size = len(values)
    q, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((size, size)))
    h = torch.from_numpy(q @ np.diag(values) @ q.T)
    alphas = [torch.randn(size // 2, dtype=torch.float64, requires_grad=True) for _ in range(2)]

    def run(name: str, mixture: Mixture | None) -> tuple[torch.Tensor, torch.Tensor]:
        a = torch.cat(alphas)
        return a @ h @ a / 2, a

    return Problem(weights=(), alphas=alphas, run=run, criterion=lambda loss, _: loss, lr=0.1)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [8, 48])
def test_the_largest_eigenvalue_is_the_algebraically_largest(size: int) -> None:
    values = np.linspace(-9.0, 2.5, size)  # the largest absolute value is the most negative one
    product = alpha_products(quadratic(values))
    assert largest_eigenvalue(product, size) == pytest.approx(2.5, rel=2e-3)
    np.testing.assert_allclose(np.linalg.eigvalsh(dense(product, size)), values, atol=1e-9)


def test_of_a_supernet_it_is_that_of_the_dense_hessian() -> None:
    net = tiny().double()
    step = step_of(MethodConfig(), net)
    (train, _), (val, targets) = batches()
    problem = step.problem("alphas", (train.double(), targets), (val.double(), targets))
    size = sum(a.numel() for a in problem.alphas)
    product = alpha_products(problem)
    matrix = dense(product, size)
    direction = np.random.default_rng(1).standard_normal(size)
    np.testing.assert_allclose(product(direction), matrix @ direction, rtol=1e-6, atol=1e-10)
    # Differences of the gradient, an oracle that knows nothing of double backward.
    vectors, at, r = [], 0, 1e-5
    for alpha in problem.alphas:
        vectors.append(torch.from_numpy(direction[at : at + alpha.numel()]).reshape(alpha.shape))
        at += alpha.numel()
    gradients = []
    for sign in (1, -1):
        with torch.no_grad():
            for alpha, v in zip(problem.alphas, vectors, strict=True):
                alpha += sign * r * v
        gradients.append(problem.gradient(problem.loss("val"), list(problem.alphas)))
        with torch.no_grad():
            for alpha, v in zip(problem.alphas, vectors, strict=True):
                alpha -= sign * r * v
    difference = torch.cat([((a - b) / (2 * r)).reshape(-1) for a, b in zip(*gradients, strict=True)]).numpy()
    np.testing.assert_allclose(product(direction), difference, rtol=1e-4, atol=1e-7)
    assert largest_eigenvalue(product, size) == pytest.approx(np.linalg.eigvalsh(matrix)[-1], rel=5e-3)


GENOTYPE = get_space("nasbench201").sample(random.Random(0))


def measured(values: list[float], every: int = 2) -> list[Ended]:
    return [Ended(every * n + every - 1, GENOTYPE, {ENTRY: value}) for n, value in enumerate(values)]


def test_it_stops_where_the_mean_of_five_has_risen_by_a_third_within_four_measurements() -> None:
    part = Eigenvalue()
    flat, steep = [1.0] * 9, [1.0, 1.0, 1.0, 1.0, 1.0, 1.2, 1.4, 1.6, 1.8]
    assert part.bent(measured(flat)) is None
    # Windows of the nine: epochs 1 to 9 (mean 1) and 9 to 17 (mean 1.4), centred on epochs 5 and 13.
    assert part.bent(measured(steep)) is None, "the earlier centre lies before epoch 10"
    shifted = [replace(ended, epoch=ended.epoch + 8) for ended in measured(steep)]
    earlier = part.bent(shifted)
    assert earlier is not None
    assert earlier.epoch == 13
    assert Eigenvalue(ratio=1.41).bent(shifted) is None
    assert Eigenvalue(ratio=1.39).bent(shifted) is not None
    assert Eigenvalue(ratio=0).bent(shifted) is None, "only measured"
    assert part.bent(shifted[:8]) is None, "a window is not whole"


@pytest.mark.parametrize("values", [{"every": 0}, {"window": 4}, {"ratio": -1.0}])
def test_what_makes_no_sense_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(SupernetError, match=next(iter(values))):
        Eigenvalue(**values)
