"""What learns for a while and what does not: parameters without gradients, norms without running statistics."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

__all__ = ["batch_norms", "frozen", "frozen_statistics"]


@contextmanager
def frozen(parameters: Sequence[Tensor]) -> Iterator[None]:
    """Inside, no gradient is computed, and nothing is kept for one, with respect to `parameters` of any shape."""
    needed = [p.requires_grad for p in parameters]
    for p in parameters:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p, needs in zip(parameters, needed, strict=True):
            p.requires_grad_(needs)


def batch_norms(net: nn.Module) -> list[nn.Module]:
    """The modules of `net` that have running statistics; a supernet has thousands of modules to look through."""
    return [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


@contextmanager
def frozen_statistics(net: nn.Module, norms: Sequence[nn.Module] | None = None) -> Iterator[None]:
    """Inside, batch norms normalise by the batch but leave their running statistics alone.

    So the statistics that evaluation uses follow the weight steps only, and no virtual step or validation batch leaks
    into them. `norms` is what `batch_norms(net)` gave, where it is known.
    """
    norms = batch_norms(net) if norms is None else norms
    tracked = [m.__dict__["track_running_stats"] for m in norms]
    for m in norms:  # a momentum of 0 would still count the batch, and let its NaN in: 0 * NaN is NaN
        m.__dict__["track_running_stats"] = False  # past torch's own way, which takes 10 times as long
    try:
        yield
    finally:
        for m, tracks in zip(norms, tracked, strict=True):
            m.__dict__["track_running_stats"] = tracks
