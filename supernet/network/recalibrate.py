"""Batch statistics of a part of a shared network, taken anew.

The running statistics of shared weights are an average over whatever ran, not those of one architecture, of one width
in particular. So they are reset and averaged over a few batches, as in stochastic weight averaging
(https://arxiv.org/abs/1803.05407, section 3.2): right for every width and for all decisions in front of a norm.
"""

from collections.abc import Iterable, Sequence
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..errors import SupernetError

__all__ = ["recalibrate"]


@torch.no_grad()
def recalibrate(net: nn.Module, batches: Iterable[Tensor | Sequence[Tensor]]) -> None:
    """Set the running statistics of every batch norm of `net` to their mean over `batches`.

    A batch is the inputs [B, ...], or (inputs, targets). `net` is a plain network, or a supernet in which a genotype is
    activated. Everything else runs as in evaluation. Raises SupernetError where there is no batch.
    """
    norms = [module for module in net.modules() if isinstance(module, _BatchNorm)]
    before = [(module, module.training) for module in net.modules()]
    momenta = [norm.momentum for norm in norms]
    remaining = iter(batches)
    first = next(remaining, None)
    if first is None:
        raise SupernetError("recalibrate was given no batch; a generator gives its batches only once")
    net.eval()
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # torch then averages all batches alike
            norm.train()
        for batch in chain([first], remaining):
            net(batch if isinstance(batch, Tensor) else batch[0])
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, training in before:
            module.training = training
