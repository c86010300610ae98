"""The eager rival of the kernels runs on a torch that refuses a batch norm without an epsilon, as 2.11 does."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.kernels import eager


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """torch 2.11's refusal, in any torch; the epsilons that batch norms are called with."""
    stock, epsilons = F.batch_norm, list[float]()

    def batch_norm(*args: Tensor, eps: float = 1e-5, **more: bool) -> Tensor:
        if not eps > 0:
            raise ValueError(f"batch_norm eps must be positive, but got {eps}")
        epsilons.append(eps)
        return stock(*args, eps=eps, **more)

    monkeypatch.setattr(F, "batch_norm", batch_norm)
    return epsilons


def test_the_epsilon_is_none_to_the_numbers(strict: list[float]) -> None:
    """It is added to a variance of 1, so that what comes out is (z - mean) * scale + shift, rounded once."""
    assert 1 + torch.tensor(eager.TINY, dtype=torch.float64) == 1
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(3, 5, 4, 4, generator=generator).bfloat16()
    mean, scale, shift = (torch.randn(5, generator=generator) for _ in range(3))
    got = eager._normed(z, mean, scale, shift)
    wide = (z.double() - mean.double().view(-1, 1, 1)) * scale.view(-1, 1, 1) + shift.view(-1, 1, 1)
    assert len(strict) == 1 and got.dtype == torch.bfloat16
    torch.testing.assert_close(got.double(), wide, rtol=2**-8, atol=1e-3)


def test_the_second_half_of_a_separable_convolution_runs(strict: list[float]) -> None:
    """One of the four kernels that the refusal would have left without a rival."""
    generator = torch.Generator().manual_seed(0)
    n, c = 2, 4
    z1 = [torch.randn(2, c, 6, 6, generator=generator).bfloat16() for _ in range(n)]
    mean, scale, shift = (torch.randn(n, c, generator=generator) for _ in range(3))
    dw = [torch.randn(c, 1, 3, 3, generator=generator) for _ in range(n)]
    pw = [torch.randn(c, c, 1, 1, generator=generator) for _ in range(n)]
    z2, *_ = eager.sep_second(z1, mean, scale, shift, dw, pw, 1e-5)()
    assert len(strict) == n and [z.shape for z in z2] == [z.shape for z in z1]
    assert all(bool(z.isfinite().all()) for z in z2)
