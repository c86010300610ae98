"""The layers that scores sum over, convolutions and linear ones, and what is done to them."""
# N samples, C channels

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from ...errors import SupernetError
from .trial import Trial

__all__ = ["fill_normal", "gradients", "layers", "loss_gradients", "neutralise_norms", "weights"]

Layer = _ConvNd | nn.Linear


def layers(network: nn.Module) -> list[Layer]:
    """All convolutions and linear layers, each once; raises SupernetError where there is none."""
    layers = [module for module in network.modules() if isinstance(module, Layer)]
    if not layers:
        raise SupernetError(f"this score reads convolutions and linear layers; {type(network).__name__} has none")
    return layers


def weights(network: nn.Module) -> list[Tensor]:
    """The weights of those layers, of any shape, without biases; one that layers share is there once."""
    return list(dict.fromkeys(layer.weight for layer in layers(network)))


def gradients(value: Tensor, of: Sequence[Tensor], create_graph: bool = False) -> list[Tensor]:
    """d value / d each of `of`, of the same shapes; `value` is a scalar, and what does not reach it has zeros."""
    grads = torch.autograd.grad(value, of, create_graph=create_graph, allow_unused=True, materialize_grads=True)
    return list(grads)


def loss_gradients(trial: Trial, inputs: Tensor, targets: object) -> list[tuple[Tensor, Tensor]]:
    """(weight, gradient of the loss of a batch with inputs [N, ...]), the same shape, for all `weights`."""
    of = weights(trial.network)
    return list(zip([w.detach() for w in of], gradients(trial.batch_loss(inputs, targets), of), strict=True))


@torch.no_grad()
def fill_normal(network: nn.Module, generator: torch.Generator) -> None:
    """Weights of `layers` from N(0, 1), their biases 0; norms with scale 1 and shift 0."""
    for layer in layers(network):
        layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator))
        if layer.bias is not None:
            layer.bias.zero_()
    for norm in network.modules():
        if isinstance(norm, _BatchNorm | nn.GroupNorm) and norm.affine:
            norm.weight.fill_(1.0)
            norm.bias.zero_()


@torch.no_grad()
def neutralise_norms(network: nn.Module) -> None:
    """Batch norms become the identity, by their statistics; what else a norm does, an activation in it, stays."""
    for norm in network.modules():
        if not isinstance(norm, _BatchNorm):
            continue
        norm.eval()
        like = next(network.parameters())
        norm.track_running_stats, norm.eps = True, 0.0
        norm.running_mean = torch.zeros(norm.num_features).to(like)
        norm.running_var = torch.ones(norm.num_features).to(like)
        if norm.affine:
            norm.weight.fill_(1.0)
            norm.bias.zero_()
