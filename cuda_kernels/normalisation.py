"""The algebra of batch norm that all families share: statistics of an output, and what they add to gradients."""
# B batch, C channels, H height, W width, n outputs, N = B * H * W pixels of an output

import torch
from torch import Tensor

__all__ = ["norm_coefficients", "statistics", "statistics_coefficients"]


def statistics(z: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """(mean, biased variance, 1 / sqrt(variance + eps)), each [C], of one output [B, C, H, W]."""
    var, mean = torch.var_mean(z, (0, 2, 3), correction=0)
    return mean, var, (var + eps).rsqrt()


def statistics_coefficients(
    mean: Tensor, rstd: Tensor, g_mean: Tensor | None, g_var: Tensor | None, g_rstd: Tensor | None, count: int
) -> Tensor:
    """[n, 3, C]: what the gradients of an output's statistics [n, C] add to its own, dz = g + b z + c."""
    zero = torch.zeros_like(mean)
    g_var = (zero if g_var is None else g_var) - (zero if g_rstd is None else 0.5 * g_rstd * rstd**3)
    slope = 2 * g_var / count
    level = zero if g_mean is None else g_mean / count
    return torch.stack([torch.ones_like(mean), slope, level - slope * mean], dim=1)


def norm_coefficients(a: Tensor, mean: Tensor, rstd: Tensor, sum_g: Tensor, sum_gz: Tensor, count: int) -> Tensor:
    """[..., 3, C]: (a, b, c) of dz = a g + b z + c, the backward of a norm with the factor `a` [..., C] in front of g.

        b = -a rstd^2 sum g (z - mean) / N         c = -a sum g / N - b mean       (b = c = 0 where rstd = 0)

    `mean`, `rstd` are [..., C]; `sum_g`, `sum_gz` [..., C] are those sums over the `count` = N pixels.
    """
    constant, zero = rstd == 0, torch.zeros_like(a)  # not by a product: 0 * NaN is NaN
    b = torch.where(constant, zero, -a * rstd * rstd * sum_gz / count)
    c = torch.where(constant, zero, -a * sum_g / count - b * mean)
    return torch.stack([a, b, c], dim=-2)
