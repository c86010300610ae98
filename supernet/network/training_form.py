"""How a discrete network is run while it trains: memory format, fused separable convolutions, torch.compile.

All of it changes rounding only. The network itself stays as it is, with the same state dict, and outside of a training
step it runs as its modules do, so what is exported holds none of this.

Measured on a processor (one core of an AMD EPYC, torch 2.14, batches of 8, processor time of a training step):

    channels_last   1.1 to 1.5 times faster for cells, and so what `auto` takes for them; on a GPU it is taken always
    fused           1.1 to 5 times faster where an operation's input has 65,000 numbers or more, as fast with 32,000,
                    and slower below, since a call has its price. `auto` goes by that. On a GPU not measured, off there
    compile         54 to 85 s to compile five cells of 16 channels, then 21.1 for 22.0 ms a step (22.6 for 25.1 in the
                    contiguous format): pays after some 50,000 steps. On a GPU not measured. `off` unless asked for

Three cells of 36 channels on 32x32 pixels: 170 ms plain, 123 in channels_last, 93 with both for DARTS_V2, and 224, 188,
117 for PDARTS.
"""
# B batch, C channels, H height, W width

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..cuda_kernels import host
from ..errors import SupernetError
from ..ops.channels_last import to_channels_last
from .cells.cell import DiscreteCell, run_plain
from .cells.classifier import CellClassifier
from .fused_separable import halves_of, run_fused

if TYPE_CHECKING:
    from timm.layers import DropPath

__all__ = ["LEAST", "Fast"]

log = logging.getLogger(__name__)

LEAST = 65_536  # numbers in an operation's input, from which on fused passes save more than their calls cost


class Fast:
    """`net` as it is trained; call it for the network's outputs, inside `with fast.training():`, the backward too.

    `channels_last` and `fused` are "auto", "on" or "off", `compiled` is "on" or "off"; what comes of it is logged once.
    Raises SupernetError where what is asked for cannot be.
    """

    def __init__(
        self,
        net: nn.Module,
        device: torch.device,
        *,
        amp: str = "off",
        channels_last: str = "auto",
        fused: str = "auto",
        compiled: str = "off",
    ) -> None:
        self.net = net
        self._cells = [module for module in net.modules() if isinstance(module, DiscreteCell)]
        cells = isinstance(net, CellClassifier)
        self.channels_last = _takes(channels_last, device.type == "cuda" or cells)
        self._form = self._fused(fused, device, amp, compiled == "on")
        self._run: Any = net
        self._drops: list[_Drop] = []
        if _takes(compiled, False):
            from timm.layers import DropPath  # late: timm imports torchvision

            self._run = torch.compile(net)
            self._drops = [_Drop(module, device) for module in net.modules() if isinstance(module, DropPath)]
        self._settings = {"channels_last": channels_last, "fused": fused}
        self._steps = 0
        if self.channels_last:
            to_channels_last(net)

    def _fused(self, setting: str, device: torch.device, amp: str, compiled: bool) -> "_Fused | None":
        """What runs the operations of cells; None where modules do."""
        operations = [op for cell in self._cells for terms in cell.terms for op in terms.children()]
        served = any(halves_of(op) for op in operations)
        on_cpu = device.type == "cpu"
        usual = served and on_cpu and amp == "off" and not compiled
        if not _takes(setting, usual):
            return None
        if setting == "auto":
            return _Fused(LEAST, self.net)
        reason = ""
        if not served:
            reason = "this network has no separable convolution that the kernels serve"
        elif on_cpu and amp != "off":
            reason = f"on the processor the kernels do not serve amp={amp}"
        elif on_cpu and next(self.net.parameters()).dtype == torch.float32:
            reason = _why_not()
        if reason:
            raise SupernetError(f"speed.fused=on: {reason}; use speed.fused=auto or off")
        return _Fused(0, self.net)

    @contextmanager
    def training(self) -> Iterator[None]:
        """Around a forward pass and its backward."""
        for cell in self._cells:
            cell.run_operation = self._form or run_plain
        for drop in self._drops:
            drop.enter()
        try:
            yield
        finally:
            for cell in self._cells:
                cell.run_operation = run_plain
            for drop in self._drops:
                drop.leave()

    def __call__(self, inputs: Tensor) -> Any:
        if self.channels_last and inputs.dim() == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        outputs = self._run(inputs)
        self._steps += 1
        if self._steps == 1:
            self._tell()
        return outputs

    def _tell(self) -> None:
        form = "channels_last" if self.channels_last else "contiguous"
        fused = self._form.counts() if self._form is not None else "none"
        compiled = "no" if self._run is self.net else "yes"
        log.info(
            "retraining in %s (channels_last=%s), separable convolutions fused: %s (fused=%s), compiled: %s",
            *(form, self._settings["channels_last"], fused, self._settings["fused"], compiled),
        )


class _Fused:
    """Runs an operation of a cell, fused where it can be and its input has `least` numbers; counts both."""

    def __init__(self, least: int, net: nn.Module) -> None:
        self.least, self.ran, self.seen, self.why_not = least, 0, 0, ""
        self._halves = {op: halves for op in net.modules() if (halves := halves_of(op))}

    def __call__(self, op: nn.Module, x: Tensor) -> Tensor:
        halves = self._halves.get(op)
        if halves is None:
            return run_plain(op, x)
        self.seen += 1
        if x.numel() < self.least:
            return run_plain(op, x)
        if self.least:  # not asked for by name: without a compiler the modules do it
            self.why_not = _why_not()
            if self.why_not:
                return run_plain(op, x)
        self.ran += 1
        return run_fused(op, halves, x)

    def counts(self) -> str:
        """How many were fused, and where none could be why."""
        return f"{self.ran} of {self.seen}" + (f" ({self.why_not})" if self.why_not else "")


class _Drop:
    """Drop path with its rate in a tensor: a number would be compiled in, and it is another in each epoch."""

    def __init__(self, module: "DropPath", device: torch.device) -> None:
        self.module, self.rate, self.keep = module, 0.0, torch.ones((), device=device)

    def enter(self) -> None:
        """Take the place of the module's own forward."""
        rate = float(self.module.drop_prob or 0.0)
        if rate != self.rate:
            self.rate = rate
            self.keep.fill_(1 - rate)
        vars(self.module)["forward"] = self

    def leave(self) -> None:
        del self.module.forward

    def __call__(self, x: Tensor) -> Tensor:
        draws = torch.rand((x.shape[0],) + (1,) * (x.dim() - 1), device=x.device)
        stays = draws < self.keep
        return x * (stays / self.keep if self.module.scale_by_keep else stays).to(x.dtype)


def _why_not() -> str:
    """Why there are no compiled bodies, without the way out for a search."""
    return host.why_not().partition("; executor=")[0]


def _takes(setting: str, usual: bool) -> bool:
    """What a setting comes to; `usual` is what "auto" takes."""
    return usual if setting == "auto" else setting == "on"
