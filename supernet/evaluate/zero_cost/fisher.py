"""Fisher: how much the loss would feel the loss of each channel.

Theis et al., "Faster gaze prediction with dense networks and Fisher pruning", https://arxiv.org/abs/1801.05787, in
the form of Turner et al., "BlockSwap", https://arxiv.org/abs/1906.04113; as a score:
https://arxiv.org/abs/2101.08134.

    score = sum over channels of 1/2 * mean over samples n of (sum over pixels of a_n * dL/da_n)^2

a are the outputs of convolutions and linear layers. L is the loss as given: where it is a mean over N samples,
dL/da_n is 1/N of the sample's own gradient, and the score 1/N^2 of Fisher's information. Compare scores of equal
batches.

The authors' code (SamsungLabs/zero-cost-nas, fisher.py) does the same; of linear layers on tokens it takes the tokens
for channels, here channels are the last axis. BlockSwap reads a behind the ReLU.
"""
# N samples, C channels

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..probe import Trial, gradients, layers
from .registry import zero_cost

__all__ = ["fisher"]


@zero_cost("fisher")
def fisher(trial: Trial, /) -> float:
    """The mean over batches."""
    return trial.mean(lambda inputs, targets: _of_batch(trial, inputs, targets))


def _of_batch(trial: Trial, inputs: Tensor, targets: object) -> float:
    activations: list[tuple[nn.Module, Tensor]] = []

    def read(layer: nn.Module, _: object, output: Tensor) -> Tensor:
        activations.append((layer, output))
        return output.clone()  # what follows may work in place

    handles: list[RemovableHandle] = [layer.register_forward_hook(read) for layer in layers(trial.network)]
    try:
        loss = trial.batch_loss(inputs, targets)
    finally:
        for handle in handles:
            handle.remove()
    grads = gradients(loss, [a for _, a in activations])
    pairs = zip(activations, grads, strict=True)
    return sum(_channels(layer, a.detach(), g) for (layer, a), g in pairs)


def _channels(layer: nn.Module, a: Tensor, g: Tensor) -> float:
    """The sum over channels of activations [N, C, ...], or [N, ..., C] of a linear layer, and of their gradients."""
    first = 1 if isinstance(layer, nn.Linear) else 2
    places = tuple(range(first, a.dim() - (first == 1)))
    product_NC = (a * g).sum(places) if places else a * g
    return float(0.5 * torch.square(product_NC).mean(0).sum())
