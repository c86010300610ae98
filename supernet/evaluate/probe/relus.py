"""Which side of its ReLUs a network is on: a binary code for each sample.

Functions of torch are watched while the network runs, so that a ReLU counts as often as it runs, as a module or as a
function. One that does not reach the outputs (a dead branch) does not count, and none whose first axis is not the
batch.
"""
# N samples, F neurons

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ...errors import SupernetError
from .trial import Trial

__all__ = ["different", "relu_codes"]

RELUS: set[object] = {
    F.relu, F.relu6, F.leaky_relu, F.prelu, torch.relu, torch.relu_, torch.prelu, Tensor.relu, Tensor.relu_,
    F.relu_, F.leaky_relu_,
}  # fmt: skip


def relu_codes(trial: Trial, inputs: Tensor) -> list[Tensor]:
    """For each ReLU, in the order of running, which of its inputs are above 0, bool [N, F]; of inputs [N, ...].

    Raises SupernetError where no ReLU runs on the way to the outputs.
    """
    if inputs.is_floating_point():
        # A copy behind the leaf: a network may open with a ReLU that works in place.
        inputs = inputs.detach().requires_grad_(True).clone()
    with _Watch(len(inputs)) as watch:
        outputs = trial.outputs(inputs)
    seen = [(code, y) for code, y in zip(watch.codes, watch.outputs, strict=True) if y.requires_grad]
    reached = torch.autograd.grad(outputs.sum(), [y for _, y in seen], allow_unused=True) if seen else ()
    codes = [code for (code, _), grad in zip(seen, reached, strict=True) if grad is not None]
    if not codes:
        raise SupernetError("this score reads ReLUs, and none runs on the way to this network's outputs")
    return codes


def different(codes: Tensor) -> int:
    """How many rows of bool codes [N, F] are different."""
    packed = np.packbits(codes.cpu().numpy(), axis=1)
    return len(np.unique(packed, axis=0))


class _Watch(TorchFunctionMode):
    """Inside, the codes and outputs of ReLUs on `samples` samples."""

    def __init__(self, samples: int) -> None:
        super().__init__()
        self.samples = samples
        self.codes: list[Tensor] = []
        self.outputs: list[Tensor] = []

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        x = args[0] if args else kwargs.get("input")
        if func not in RELUS or not isinstance(x, Tensor) or not x.dim() or len(x) != self.samples:
            return func(*args, **kwargs)
        self.codes.append((x.detach() > 0).flatten(1))  # read first: the ReLU may work in place
        y = func(*args, **kwargs)
        assert isinstance(y, Tensor)
        self.outputs.append(y)
        return y
