"""How sharply the validation loss bends along the alphas: the largest eigenvalue of its Hessian.

H = d^2 L_val / d alpha^2,     lambda = the algebraically largest eigenvalue, not the largest absolute one

H is never formed: Lanczos (ARPACK, by scipy) asks for products H v alone, each of which is one backward through a
gradient. That needs a network that can be differentiated twice.
"""
# A numbers of all alphas together

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor

from .problem import Problem

__all__ = ["alpha_products", "dense", "largest_eigenvalue"]

TOLERANCE = 1e-3  # relative; the criterion compares means of five values by a ratio of 1.3
SMALL = 32  # below as many numbers the dense matrix is as cheap, and ARPACK wants more than k + 1


def alpha_products(problem: Problem) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """v [A] -> H v [A], of the validation loss at the present weights and alphas."""
    loss = problem.loss("val")
    flat = _flat(torch.autograd.grad(loss, list(problem.alphas), create_graph=True, allow_unused=True), problem.alphas)

    def product(v: NDArray[np.float64]) -> NDArray[np.float64]:
        along = torch.from_numpy(v.reshape(-1)).to(flat)
        again = torch.autograd.grad(flat, list(problem.alphas), along, retain_graph=True, allow_unused=True)
        result = _flat(again, problem.alphas)
        if problem.reduce is not None:
            problem.reduce([result])
        return result.detach().double().cpu().numpy()

    return product


def largest_eigenvalue(product: Callable[[NDArray[np.float64]], NDArray[np.float64]], size: int) -> float:
    """The algebraically largest eigenvalue of a symmetric matrix [A, A] that is known by its products with v [A]."""
    if size < SMALL:
        return float(np.linalg.eigvalsh(dense(product, size))[-1])
    # A fixed start, so that the same state gives the same number, on every rank.
    start = np.random.default_rng(0).standard_normal(size)
    operator = LinearOperator((size, size), matvec=product, dtype=np.float64)
    (value,) = eigsh(operator, k=1, which="LA", v0=start, tol=TOLERANCE, return_eigenvectors=False)
    return float(value)


def dense(product: Callable[[NDArray[np.float64]], NDArray[np.float64]], size: int) -> NDArray[np.float64]:
    """The symmetric matrix [A, A] itself, column by column."""
    matrix = np.stack([product(column) for column in np.eye(size)], axis=1)
    symmetric: NDArray[np.float64] = (matrix + matrix.T) / 2
    return symmetric


def _flat(gradients: Sequence[Tensor | None], like: Sequence[Tensor]) -> Tensor:
    """All as one [A]; zeros where a parameter takes no part."""
    parts = [torch.zeros_like(p) if g is None else g for g, p in zip(gradients, like, strict=True)]
    return torch.cat([part.reshape(-1) for part in parts])
