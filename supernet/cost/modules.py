"""The parts of a user's own network with choices in it, each under the options that it needs.

The network is built and run on the meta device. A part's cost is that of its plain layer on the inputs that it gets.
"""
# B batch

import copy
import hashlib
from collections.abc import Mapping
from functools import partial
from itertools import chain

import torch
from torch import nn

from ..errors import SupernetError
from ..network.macro import macro_of
from ..space.space import Space
from .leaves import Leaf, Leaves
from .placed import Factor, Part, Placed, Shape, merged
from .trace import Calls, Tracer

__all__ = ["module_parts"]


def module_parts(space: Space, shape: Shape, arguments: Mapping[str, object], *, widths: bool) -> list[Placed]:
    """The parts of all genotypes at once on inputs of `shape`.

    `widths`: parts that have neither parameters nor products are told apart by the channels of their inputs too, which
    matters to the clock and to nothing that is counted.
    """
    leaves = Leaves(_network(space, arguments))
    placed: list[Placed] = []
    for leaf, joints in Tracer(leaves, shape).shapes(widths).items():
        for joint, calls in joints.items():
            factors = merged((*leaf.factors, *(Factor(site, 0, (option,)) for site, option in joint)))
            if not all(factor.options for factor in factors):  # values that the way to the leaf rules out
                continue
            placed += [Placed(part, factors) for part in _parts(leaves, leaf, dict(joint), calls)]
    return placed


def _network(space: Space, arguments: Mapping[str, object]) -> nn.Module:
    relaxed = macro_of(space).relaxed
    try:
        with torch.device("meta"):
            body = relaxed(space, None, **arguments).to("meta")  # a wrapped network is a copy of one with numbers
    except SupernetError:
        raise
    except Exception:  # a network that computes while it is built
        body = relaxed(space, None, **arguments).to("meta")
    net = body.net
    assert isinstance(net, nn.Module)
    return net.eval()


def _parts(leaves: Leaves, leaf: Leaf, options: dict[str, int], calls: Calls) -> list[Part]:
    """One part a call, under the `options` of the leaf's tables; the parameters are those of the first."""
    if leaf.alone:
        own = nn.ParameterList(p for p in leaf.module._parameters.values() if p is not None)
        return [Part(f"parameters {_name(own)}", (), lambda: own, runs=False)]
    with torch.device("meta"):
        layer = leaf.layer(options, leaves.sites)
    name, make = _name(layer), partial(_real, layer)
    if not calls:
        return [Part(name, (), make, runs=False)]
    return [Part(name, inputs, make, owns=i == 0) for i, inputs in enumerate(calls)]


def _name(module: nn.Module) -> str:
    """What a module is, but for the values of its weights: torch's layers as they show themselves, else a digest."""
    kind = type(module)
    shown = repr(module)
    if kind.__module__.startswith("torch.nn.modules") and not list(module.children()):
        return shown
    plain = [
        (name, key, value)
        for name, child in module.named_modules()
        for key, value in sorted(vars(child).items())
        if key[0] != "_" and isinstance(value, int | float | str | tuple)
    ]
    tensors = [(key, tuple(t.shape)) for key, t in chain(module.named_parameters(), module.named_buffers())]
    digest = hashlib.sha256(repr((kind.__module__, kind.__qualname__, shown, plain, tensors)).encode()).hexdigest()
    return f"{kind.__qualname__} {digest[:16]}"


def _real(layer: nn.Module) -> nn.Module:
    """A copy on torch's default device, with numbers that a layer in use might have; on the meta device itself."""
    device = torch.empty(0).device
    if device.type == "meta":
        return layer
    real = copy.deepcopy(layer).to_empty(device=device)
    with torch.no_grad():
        for name, tensor in chain(real.named_parameters(), real.named_buffers()):
            if not tensor.is_floating_point():
                tensor.zero_()
            elif name.endswith("running_var"):
                tensor.fill_(1)
            else:
                tensor.normal_(std=0.05)
    return real
