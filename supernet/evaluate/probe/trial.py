"""One network on trial: a copy that a score may use up, the batches, the loss and the noise that it may draw.

The copy stands as these scores are defined: batch norms take the statistics of the batch, everything else (dropout,
stochastic depth, auxiliary heads) runs as in evaluation, and every weight asks for its gradient.
"""

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...errors import SupernetError
from ...network.supernet import Supernet

__all__ = ["Batch", "Loss", "Trial", "real"]

Batch: TypeAlias = Sequence[object]  # (inputs, targets); targets may be a tensor or tensors in tuples and lists
Loss: TypeAlias = Callable[[Tensor, object], Tensor]  # of outputs and targets: a scalar


@dataclass(frozen=True)
class Trial:
    """What a score sees; nothing of it is the caller's. Every batch is (inputs [N, ...], targets), N of 2 or more."""

    network: nn.Module
    batches: Sequence[tuple[Tensor, object]]
    loss: Loss
    generator: torch.Generator  # on the CPU, so that the noise is the same on every device

    @classmethod
    def of(
        cls, network: nn.Module, batches: Iterable[Batch], loss: Loss, seed: int, dtype: torch.dtype | None
    ) -> "Trial":
        """Copies; `dtype` None keeps the network's own, of single precision at least.

        Raises SupernetError for what is no discrete network, and for batches that are none.
        """
        if isinstance(network, Supernet) or not isinstance(network, nn.Module):
            what = "a discrete network" if isinstance(network, Supernet) else "a network"
            raise SupernetError(
                f"a score takes {what}, not a {type(network).__name__}; use build(genotype, ...) or "
                "net.discretize(genotype)[0]"
            )
        scratch = copy.deepcopy(network).requires_grad_(True).eval()
        floating = next((p for p in scratch.parameters() if p.is_floating_point()), torch.empty(0))
        dtype = dtype or torch.promote_types(floating.dtype, torch.float32)
        scratch.zero_grad(set_to_none=True)
        for module in scratch.to(dtype).modules():
            if isinstance(module, _BatchNorm):
                module.train()
        device = floating.device if floating.numel() else None  # a network without parameters runs where its inputs are
        moved = [_batch(batch, device, dtype) for batch in _listed(batches)]
        return cls(scratch, moved, loss, torch.Generator().manual_seed(seed))

    @property
    def images(self) -> Tensor:
        """The inputs [N, ...] of the first batch; raises SupernetError where they are whole numbers, such as words."""
        return real(self.batches[0][0])

    def outputs(self, inputs: Tensor) -> Tensor:
        """Outputs [N, ...] of inputs [N, ...]; raises SupernetError where the network gives anything but a tensor."""
        outputs = self.network(inputs)
        if not isinstance(outputs, Tensor):
            raise SupernetError(f"a score reads one tensor of outputs; this network gives a {type(outputs).__name__}")
        return outputs

    def batch_loss(self, inputs: Tensor, targets: object) -> Tensor:
        """The loss of a batch with inputs [N, ...], a scalar with gradient."""
        return self.loss(self.outputs(inputs), targets)

    def mean(self, measure: Callable[[Tensor, object], float]) -> float:
        """The mean over batches of what is measured of their inputs [N, ...] and targets."""
        return sum(measure(inputs, targets) for inputs, targets in self.batches) / len(self.batches)

    def normal(self, shape: Sequence[int], like: Tensor) -> Tensor:
        """Standard normal noise of `shape`, on the device and of the type of `like` (any shape)."""
        return torch.randn(tuple(shape), generator=self.generator).to(like)


def real(inputs: Tensor) -> Tensor:
    """`inputs` of any shape; raises SupernetError where they are no real numbers, such as the numbers of words."""
    if not inputs.is_floating_point():
        raise SupernetError(f"this score needs inputs of real numbers, such as images, not {inputs.dtype}")
    return inputs


def _listed(batches: Iterable[Batch]) -> list[Batch]:
    if isinstance(batches, Tensor) or (
        isinstance(batches, tuple) and any(isinstance(part, Tensor) for part in batches)
    ):
        raise SupernetError("batches is a list of (inputs, targets); for one batch write [(inputs, targets)]")
    listed = list(batches)
    if not listed:
        raise SupernetError("a score was given no batch; a generator gives its batches only once")
    return listed


def _batch(batch: Batch, device: torch.device | None, dtype: torch.dtype) -> tuple[Tensor, object]:
    if not isinstance(batch, tuple | list) or len(batch) != 2 or not isinstance(batch[0], Tensor):
        raise SupernetError(f"a batch of a score is (inputs, targets), not {type(batch).__name__}")
    inputs, targets = _moved(batch[0], device, dtype), _moved(batch[1], device, dtype)
    assert isinstance(inputs, Tensor)
    if not inputs.dim() or len(inputs) < 2:
        raise SupernetError(f"a batch of a score needs 2 samples or more, not inputs of shape {tuple(inputs.shape)}")
    return inputs, targets


def _moved(value: object, device: torch.device | None, dtype: torch.dtype) -> object:
    """A copy of tensors where the network is, real numbers in its type."""
    if isinstance(value, Tensor):
        return value.detach().clone().to(device=device, dtype=dtype if value.is_floating_point() else None)
    if isinstance(value, tuple | list):
        return type(value)(_moved(part, device, dtype) for part in value)
    return value
