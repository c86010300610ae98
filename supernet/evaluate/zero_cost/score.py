"""One network's zero-cost score: the protocol that all of them share."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...arguments import check_arguments
from ...errors import NumbersError, SupernetError
from ...network.seeding import seeded
from ..probe import Batch, Loss, Trial
from .registry import ZERO_COST

__all__ = ["cross_entropy", "score"]


def cross_entropy(outputs: Tensor, targets: object) -> Tensor:
    """The mean cross-entropy of logits [N, K] and classes [N], a scalar; SupernetError where these are no tensor."""
    if not isinstance(targets, Tensor):
        raise SupernetError(f"cross-entropy takes a tensor of targets, not {type(targets).__name__}; give another loss")
    return F.cross_entropy(outputs, targets)


def score(
    name: str,
    network: nn.Module,
    batches: Iterable[Batch],
    *,
    loss: Loss = cross_entropy,
    seed: int = 0,
    **arguments: object,
) -> float:
    """The score `name` of a discrete network, such as `build(genotype, ...)`, with the weights that it has.

    `batches` are (inputs [N, ...], targets), each with 2 samples or more; a score of one batch is averaged over them.
    `loss` takes outputs and targets. What a score draws comes from `seed`, so it is a function of what is given.
    `arguments` are the score's own, such as `repeats` of zen. More is better unless `ZERO_COST[name].higher_is_better`
    is False. The network, its gradients, modes and hooks, and torch's generators, stay as they were.

    Raises SupernetError for an unknown name, for arguments that do not fit, and where the network fails; NumbersError
    where the score is not finite.
    """
    record = ZERO_COST[name]
    check_arguments(record.measure, arguments, f"the zero-cost score {name!r}")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise SupernetError(f"seed={seed!r:.40} must be a whole number in 0..2^63-1")
    # Enabled even inside of a caller's no_grad or inference_mode: most scores are made of gradients.
    with _one_line(name), torch.inference_mode(False), torch.enable_grad(), _own_noise(network, seed):
        trial = Trial.of(network, batches, loss, seed, record.dtype)
        if len(trial.batches) < record.batches:
            raise SupernetError(
                f"the zero-cost score {name!r} needs {record.batches} batches or more, not {len(trial.batches)}"
            )
        value = float(record.measure(trial, **arguments))
    if not math.isfinite(value):
        raise NumbersError(
            f"the zero-cost score {name!r} of this network is {value}: its weights or gradients are too large, or not "
            "finite"
        )
    return value


@contextmanager
def _own_noise(network: object, seed: int) -> Iterator[None]:
    """Networks that draw while they run draw from `seed`; the generators of their devices are put back."""
    parameters = network.parameters() if isinstance(network, nn.Module) else ()
    devices = sorted({p.device.index or 0 for p in parameters if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices), seeded(seed):
        yield


@contextmanager
def _one_line(name: str) -> Iterator[None]:
    """A network's own error, on inputs that it was not made for, becomes one line."""
    try:
        yield
    except (SupernetError, torch.OutOfMemoryError):
        raise
    except (IndexError, RuntimeError, TypeError, ValueError) as error:
        message = str(error).strip().partition("\n")[0][:200]
        raise SupernetError(f"the zero-cost score {name!r}: the network or its loss fails: {message}") from error
