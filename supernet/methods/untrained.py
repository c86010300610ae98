"""What an untrained network tells of itself: how well it can be trained, and how much it can tell apart.

kappa(net) = lambda_max / lambda_min of J J^T,   J = d (sum of logits of each sample) / d w      smaller is better
R(net)     = number of different patterns of ReLUs that are on, over random inputs              larger is better

The neural tangent kernel's condition and the count of linear regions, as TE-NAS takes them (arXiv:2102.11535; authors'
code): norms by each batch's own statistics, weights drawn after Kaiming.
"""
# B samples, U ReLUs of all layers, W numbers of all weights

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn

from ..network import Supernet
from ..network.freezing import frozen_statistics
from ..network.mixture import Mixture
from ..network.seeding import seeded

__all__ = ["draw_kaiming", "linear_regions", "ntk_condition"]

NO_CONDITION = 1e5  # for a kernel that is not positive definite, the authors' value for NaN


def ntk_condition(net: Supernet, mixture: Mixture, x: Tensor) -> float:
    """kappa of the network under `mixture`, for a batch `x` [B, ...]; at most 1e5."""
    weights = net.weights()
    with frozen_statistics(net.train()):
        sums_B = net(x, mixture=mixture).flatten(1).sum(dim=1)
        rows = []
        for number, total in enumerate(sums_B):
            more = number + 1 < len(sums_B)
            gradients = torch.autograd.grad(total, weights, retain_graph=more, allow_unused=True)
            rows.append(torch.cat([g.flatten().double() for g in gradients if g is not None]))
    jacobian_BW = torch.stack(rows)
    eigenvalues = torch.linalg.eigvalsh(jacobian_BW @ jacobian_BW.T)
    smallest, largest = float(eigenvalues[0]), float(eigenvalues[-1])
    return min(largest / smallest, NO_CONDITION) if smallest > 0 else NO_CONDITION


@torch.no_grad()
def linear_regions(net: Supernet, mixture: Mixture, batches: Iterable[Tensor]) -> int:
    """R of the network under `mixture`, over all inputs [B, ...] together."""
    on: list[Tensor] = []
    relus = [module for module in net.modules() if isinstance(module, nn.ReLU)]
    hooks = [relu.register_forward_hook(lambda _m, _x, y: on.append((y > 0).flatten(1))) for relu in relus]
    patterns = []
    try:
        with frozen_statistics(net.train()):
            for x in batches:
                on.clear()
                net(x, mixture=mixture)
                patterns.append(torch.cat(on, dim=1))  # [B, U]
    finally:
        for hook in hooks:
            hook.remove()
    return len(torch.unique(torch.cat(patterns), dim=0))


def draw_kaiming(net: nn.Module, mode: Literal["fan_in", "fan_out"], seed: int) -> None:
    """Draws the weights of convolutions and linear layers anew, in place; biases become 0."""
    with seeded(seed):
        for module in net.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                drawn = torch.empty(module.weight.shape)
                nn.init.kaiming_normal_(drawn, mode=mode, nonlinearity="relu")
                with torch.no_grad():
                    module.weight.copy_(drawn)
                    if module.bias is not None:
                        module.bias.zero_()
