"""The product of two thin matrices that is closest to a matrix: W [m, n] ~ A [m, r] B [r, n].

By Eckart and Young the closest one in the squares of its entries projects on the strongest r singular directions. They
are eigenvectors Q of the smaller of W W^T and W^T W: A = Q, B = Q^T W, or A = W Q, B = Q^T; exact for r = min(m, n).
"""

import torch
from torch import Tensor

__all__ = ["low_rank"]


def low_rank(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """(A [..., m, r], B [..., r, n]) of a matrix [..., m, n] or a batch of them; 1 <= rank <= min(m, n)."""
    wide = matrix.shape[-2] <= matrix.shape[-1]
    w = matrix.double()
    gram = w @ w.mT if wide else w.mT @ w
    q = torch.linalg.eigh(gram).eigenvectors[..., -rank:]  # eigenvalues ascend
    left, right = (q, q.mT @ w) if wide else (w @ q, q.mT)
    return left.to(matrix.dtype), right.to(matrix.dtype)
