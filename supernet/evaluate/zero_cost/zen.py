"""Zen-score: how far a small change of a random input moves the features, batch norms' rescaling undone.

Lin et al., "Zen-NAS: a zero-shot NAS for high-performance deep image recognition", https://arxiv.org/abs/2102.01063

    score = mean over repeats of
            log mean_n sum |f(z) - f(z + gamma * z')|  +  sum over batch norms of log sqrt(mean variance)
    z, z' ~ N(0, 1) of the batch's shape, weights ~ N(0, 1), f the features before global pooling, gamma = .01

Weights are drawn anew for each repeat: it is a score of the architecture, and of the batches it reads the shape. Where
nothing is pooled over a whole image, f are the outputs.

The authors' code (idstcv/ZenNAS, compute_zen_score.py) sums over the features of a sample and takes the mean over
samples, as here; the paper writes the Frobenius norm. The code reads running variances, which begin at 1, move a
tenth of the way in each pass and are never reset; the paper means the variance of the batch, which is what is read
here, in the pass of z. It repeats 32 times with 16 images; NASLib once.
"""
# N samples, C channels, H height, W width

import math
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from ...errors import NumbersError, SupernetError
from ..probe import Trial, fill_normal
from .registry import zero_cost

__all__ = ["zen"]

POOLS: set[object] = {
    torch.mean, Tensor.mean, F.adaptive_avg_pool2d, F.adaptive_max_pool2d, F.avg_pool2d, torch.amax, Tensor.amax,
}  # fmt: skip


@zero_cost("zen")
@torch.no_grad()
def zen(trial: Trial, /, *, repeats: int = 32, gamma: float = 0.01) -> float:
    """`repeats` of 1 or more, with weights and noise of their own; `gamma` above 0 is the size of the change.

    Raises NumbersError where the features do not change at all.
    """
    if repeats < 1 or not gamma > 0:
        raise SupernetError(f"zen: repeats={repeats} must be 1 or more and gamma={gamma} above 0")
    return sum(_once(trial, gamma) for _ in range(repeats)) / repeats


def _once(trial: Trial, gamma: float) -> float:
    images = trial.images
    fill_normal(trial.network, trial.generator)
    z = trial.normal(images.shape, images)
    change = gamma * trial.normal(images.shape, images)
    variances: list[float] = []

    def read(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0]
        places = [axis for axis in range(x.dim()) if axis != 1]
        variances.append(float(x.var(places, unbiased=False).mean()))

    norms = [module for module in trial.network.modules() if isinstance(module, _BatchNorm)]
    handles = [norm.register_forward_pre_hook(read) for norm in norms]
    try:
        features = _features(trial, z)
    finally:
        for handle in handles:
            handle.remove()
    distance = float((features - _features(trial, z + change)).abs().flatten(1).sum(1).mean())
    if not distance or not all(variances):
        raise NumbersError("zen: the features do not depend on the input, or by less than rounding")
    return math.log(distance) + sum(0.5 * math.log(variance) for variance in variances)


def _features(trial: Trial, inputs: Tensor) -> Tensor:
    """The input [N, C, H, W] of the last pooling over whole images, for inputs [N, ...]; else the outputs."""
    with _Pools() as pools:
        outputs = trial.outputs(inputs)
    return outputs if pools.last is None else pools.last


class _Pools(TorchFunctionMode):
    """Inside, `last` is what was pooled last from [N, C, H, W] to one number a channel."""

    def __init__(self) -> None:
        super().__init__()
        self.last: Tensor | None = None

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        y = func(*args, **kwargs)
        x = args[0] if args else kwargs.get("input")
        if func in POOLS and isinstance(x, Tensor) and isinstance(y, Tensor) and x.dim() == 4:
            whole = y.shape[:2] == x.shape[:2] and y.numel() == x.shape[0] * x.shape[1]
            self.last = x if whole else self.last
        return y
