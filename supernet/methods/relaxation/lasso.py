"""The LASSO of a few unknowns, exactly: the solution that a path of least-angle regression reaches.

x = argmin |A x - b|^2 / 2 + weight |x|_1

(Efron, Hastie, Johnstone and Tibshirani, "Least angle regression", https://doi.org/10.1214/009053604000000067.)
"""
# M equations, N unknowns

import numpy as np
from numpy.typing import NDArray

__all__ = ["lasso"]

Array = NDArray[np.float64]


def lasso(A: Array, b: Array, weight: float) -> Array:
    """x [N] for A [M, N], b [M] and a weight above 0."""
    from sklearn.linear_model import lars_path  # takes a second

    scale = float(np.abs(A.T @ b).max(initial=0.0))
    if scale <= weight:
        return np.zeros(A.shape[1])
    # Scaled: the path ends at a number that is small against fixed tolerances. Its weight counts a mean of equations.
    end = weight / scale / len(b)
    _, _, steps = lars_path(A, b / scale, alpha_min=end, method="lasso", return_path=True)
    x: Array = np.asarray(steps[:, -1], dtype=np.float64) * scale
    return x
