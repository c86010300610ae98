"""Bytes of tensors over time: which storages live, found without data.

A `Ledger` notes each storage when an operation makes it and when the last tensor on it goes. Under `imagined` tensors
have shapes and no data, so that whole training steps run in seconds and in no memory, however large they are:

    with imagined(), Ledger() as ledger:
        train()
    ledger.peak, ledger.alive()

It counts what torch's allocators hand out for tensors. What the libraries hold for themselves is not in it.
"""

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["BACKWARD", "Ledger", "Piece", "imagined", "without_data"]

BACKWARD = "backward"
BLOCK = 512  # bytes: a GPU's allocator hands out multiples of it


@dataclass(slots=True, eq=False)
class Piece:
    """One storage: its bytes, when it was made and when it went (None: it is still there), in operations."""

    size: int
    born: int
    made_by: str
    label: str
    died: int | None = None


class Ledger(TorchDispatchMode):
    """Notes the storages that operations make inside it, each under the `label` of that moment.

    A label that is empty stands for BACKWARD while a backward runs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[Piece] = []
        self.clock = 0
        self.label = ""
        self._known: dict[int, tuple[weakref.ref[torch.UntypedStorage], Piece]] = {}

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        if func is torch.ops.aten._local_scalar_dense.default and isinstance(args[0], FakeTensor):
            return _plausible(args[0].dtype)
        self.clock += 1
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if isinstance(x, Tensor):
                self.note(x, str(func))
        return out

    def note(self, x: Tensor, made_by: str = "") -> Piece:
        """The piece on which `x`, of any shape, lies, entered where it is new."""
        storage = x.untyped_storage()
        number = storage._cdata
        if number in self._known:
            return self._known[number][1]
        size = storage.nbytes()
        if x.device.type == "cuda":
            size = -(-size // BLOCK) * BLOCK
        label = self.label or (BACKWARD if torch._C._current_graph_task_id() != -1 else "")
        piece = Piece(size, self.clock, made_by, label)
        self.pieces.append(piece)
        self._known[number] = weakref.ref(storage, self._goodbye(number, piece)), piece
        return piece

    def _goodbye(self, number: int, piece: Piece) -> Callable[[object], None]:
        def gone(_: object) -> None:
            piece.died = self.clock
            self._known.pop(number, None)

        return gone

    @property
    def peak(self) -> tuple[int, int]:
        """(most bytes that lived at one time, that time)."""
        change = [0] * (self.clock + 2)
        for piece in self.pieces:
            change[piece.born] += piece.size
            if piece.died is not None:
                change[piece.died + 1] -= piece.size
        most, when, now = 0, 0, 0
        for time, by in enumerate(change):
            now += by
            if now > most:
                most, when = now, time
        return most, when

    def alive(self, time: int) -> list[Piece]:
        """The storages that lived while operation `time` ran."""
        return [p for p in self.pieces if p.born <= time and (p.died is None or p.died >= time)]


def _plausible(dtype: torch.dtype) -> bool | float | int:
    """What stands for the value of a tensor without data: a flag that is not set, a count or a factor of one."""
    return False if dtype == torch.bool else 1.0 if dtype.is_floating_point else 1


@contextmanager
def imagined() -> Iterator[None]:
    """Inside, tensors are made without data, on any device that is here; the backward runs in the calling thread.

    Values that the host asks for are answered by a `Ledger`, which must be the next context inside.
    """
    with torch.autograd.set_multithreading_enabled(False), FakeTensorMode(allow_non_fake_inputs=True):
        yield


def without_data(net: nn.Module, device: torch.device) -> None:
    """Inside `imagined`: gives `net`, which was made outside, parameters and buffers without data on `device`."""
    parameters: dict[nn.Parameter, nn.Parameter] = {}  # one tensor in two places stays one
    buffers: dict[Tensor, Tensor] = {}

    def empty(x: Tensor) -> Tensor:
        return torch.empty_strided(x.size(), x.stride(), dtype=x.dtype, device=device)

    for module in net.modules():
        for name, p in module._parameters.items():
            if p is not None and p not in parameters:
                parameters[p] = nn.Parameter(empty(p), p.requires_grad)
            module._parameters[name] = None if p is None else parameters[p]
        for name, x in module._buffers.items():
            if x is not None and x not in buffers:
                buffers[x] = empty(x)
            module._buffers[name] = None if x is None else buffers[x]
