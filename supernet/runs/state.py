"""What goes into a checkpoint: plain values and tensors only, a copy of them, the state of every random generator."""

import logging
import random
from collections import OrderedDict
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch

from ..errors import SupernetError

__all__ = ["State", "check_plain", "rng_state", "set_rng_state", "snapshot"]

State: TypeAlias = dict[str, Any]  # of a checkpoint: plain values, containers and tensors; see `check_plain`

T = TypeVar("T")

_log = logging.getLogger(__name__)


def check_plain(state: object, where: str = "state") -> None:
    """Raises SupernetError that names the place of the first thing in `state` that would not load again.

    Plain are None, bool, int, float, str, dict, list, tuple and dense tensors that have data, by exact type:
    subclasses (enumerations, numpy numbers, named tuples) are saved without complaint and refused on load.
    """
    if isinstance(state, torch.Tensor):
        exact = type(state) in (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer)
        good = exact and state.layout is torch.strided and state.device.type != "meta"
        kind = f"a {state.layout} {type(state).__name__} on {state.device}"
    elif isinstance(state, dict) and type(state) in (dict, OrderedDict):
        for key, value in state.items():
            if type(key) not in (str, int):
                raise SupernetError(f"{where} has the key {key!r}: a checkpoint allows str and int keys")
            check_plain(value, f"{where}[{key!r}]")
        return
    elif isinstance(state, (list, tuple)) and type(state) in (list, tuple):
        for i, value in enumerate(state):
            check_plain(value, f"{where}[{i}]")
        return
    elif type(state) is int:
        good, kind = state.bit_length() <= 1024, "an int of over 1024 bits"
    else:
        good, kind = state is None or type(state) in (bool, float, str), f"a {type(state).__qualname__}"
    if not good:
        raise SupernetError(f"{where} is {kind}: a checkpoint holds plain values, containers and dense tensors only")


def rng_state() -> State:
    """The state of python's `random`, numpy's global generator, torch's on the CPU and on every CUDA device in use."""
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": [str(name), [int(key) for key in keys], int(position), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }


def set_rng_state(state: State) -> None:
    """Puts `rng_state()` back, so that the next draws are the same to the last bit."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(state["torch"].cpu())
    devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if state["cuda"] and devices != len(state["cuda"]):
        _log.warning("the checkpoint has the random state of %d CUDA devices, this machine has %d: "
                     "draws on a device will differ", len(state["cuda"]), devices)  # fmt: skip
    for i, one in enumerate(state["cuda"][:devices]):
        torch.cuda.set_rng_state(one.cpu(), i)


def snapshot(state: T) -> T:
    """A copy on the CPU of plain containers and tensors, whole when this returns: later steps do not change it.

    Tensors that were one stay one, so that a weight with two names is not stored twice.
    """
    copy: T = _copy(state, {})
    return copy


def _copy(value: Any, seen: dict[tuple[object, ...], torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        key = value.device, value.dtype, value.data_ptr(), value.shape, value.stride()
        if key not in seen:
            seen[key] = value.detach().to("cpu", copy=True)
        return seen[key]
    if isinstance(value, dict):
        return type(value)((key, _copy(item, seen)) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return type(value)(_copy(item, seen) for item in value)
    return value
