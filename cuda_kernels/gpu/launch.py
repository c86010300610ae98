"""What is to be launched, and launching it on a GPU; the tests hand the same objects to their CPU emulation.

Modules are kept for each device; a launch goes to the current stream of that device, and nothing waits for it. The
first launch compiles and loads, so a step is run once before it is captured.
"""

import ctypes
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from ...errors import SupernetError
from ..addresses import Addresses, Argument
from .compile import bindings, compile_kernel
from .kernel import Kernel

__all__ = ["THREADS", "Launch", "launch"]

THREADS = 256  # a block: device.cuh


@dataclass(frozen=True)
class Launch:
    """One kernel over one grid. `arguments` are ctypes values in the order and of the types of the kernel's own.

    `holds` are tensors that must live until the launch: scratch room that only the arguments' addresses name.
    """

    kernel: Kernel
    grid: tuple[int, int, int]
    arguments: tuple[Argument, ...]
    holds: tuple[Tensor, ...] = ()

    def addresses(self) -> Addresses:
        """Where each argument lies, as drivers want it; valid as long as this object lives."""
        return (ctypes.c_void_p * len(self.arguments))(*map(ctypes.addressof, self.arguments))


def launch(launches: Iterable[Launch], device: torch.device) -> None:
    """Runs `launches` one after another on the current stream of `device`.

    Raises SupernetError where the kernels cannot be compiled or the driver refuses them.
    """
    with torch.cuda.device(device):
        number = torch.cuda.current_device()
        _bind(number)
        stream = torch.cuda.current_stream(device).cuda_stream
        for one in launches:
            addresses = one.addresses()
            function = _function(one.kernel, number)
            driver = _driver()
            place = (*one.grid, THREADS, 1, 1, 0, stream, ctypes.addressof(addresses), 0)
            _call(one.kernel.name, driver.cuLaunchKernel, function, *place)


@cache
def _function(kernel: Kernel, device: int) -> object:
    major, minor = torch.cuda.get_device_capability(device)
    code = compile_kernel(kernel, f"sm_{major}{minor}")
    driver = _driver()
    module = _call(kernel.name, driver.cuModuleLoadData, code.binary)
    return _call(kernel.name, driver.cuModuleGetFunction, module, code.symbol.encode())


def _bind(number: int) -> None:
    """Gives this thread a CUDA context where it has none: a thread of autograd's may never have called the runtime."""
    driver = _driver()
    error, context = driver.cuCtxGetCurrent()
    if error or not int(context):
        _call("a thread without a CUDA context", driver.cuCtxSetCurrent, _primary(number))


@cache
def _primary(number: int) -> object:
    """The context that the runtime, and so torch, works in on this device."""
    driver, who = _driver(), f"the CUDA context of device {number}"
    return _call(who, driver.cuDevicePrimaryCtxRetain, _call(who, driver.cuDeviceGet, number))


def _driver() -> ModuleType:
    return bindings("driver")


def _call(who: str, function: Callable[..., tuple[Any, ...]], *arguments: object) -> object:
    """A call of the driver, whose answers begin with an error code; `who` it is for opens the message."""
    error, *answer = function(*arguments)
    if error:
        raise SupernetError(f"{who}: {function.__name__} answers {error.name}; executor=torch needs no kernels")
    return answer[0] if answer else None
