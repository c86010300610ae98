"""Being told to stop: the first signal is a wish that the loop grants after its step, the second one is at once.

SIGTERM (schedulers, containers), SIGUSR1 (Slurm's `--signal=USR1@60`) and SIGINT (Ctrl-C). The handler only sets a
flag, because it may interrupt anything, an optimiser's step among others; and it gives the signals back to the system,
which ends the process on the next one whatever Python is doing.
"""

import signal
import threading
from types import FrameType
from typing import Self

__all__ = ["Interrupted", "StopSignals"]

NAMES = ("SIGTERM", "SIGINT", "SIGUSR1")  # SIGUSR1 is unknown to Windows


class Interrupted(KeyboardInterrupt):
    """Training was told to stop and has saved its state; the same command goes on.

    A KeyboardInterrupt, so that `except Exception` around a training does not take it for a failure.
    """

    def __init__(self, number: int) -> None:
        self.signal = signal.Signals(number)
        super().__init__(f"{self.signal.name}; the same command goes on")

    @property
    def code(self) -> int:
        """The exit code that a scheduler expects: 130 after Ctrl-C, else 143."""
        return 130 if self.signal == signal.SIGINT else 143


class StopSignals:
    """A context in which the first of these signals only sets `received`, its number; None: there was none.

    The handlers that were there before come back at the end. Outside the main thread, where Python allows no handlers,
    nothing changes; a signal that is ignored (`nohup`, a shell's `&`) stays ignored.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, signal._HANDLER] = {}

    def __enter__(self) -> Self:
        self.received = None
        if threading.current_thread() is not threading.main_thread():
            return self
        for name in NAMES:
            number = getattr(signal, name, None)
            # None: a handler that C code has installed; Python could not put it back.
            if number is not None and signal.getsignal(number) not in (signal.SIG_IGN, None):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def raise_received(self) -> None:
        """Raises Interrupted where a signal was received."""
        if self.received is not None:
            raise Interrupted(self.received)

    def _handle(self, number: int, _: FrameType | None) -> None:
        self.received = number
        for handled in self._before:
            signal.signal(handled, signal.SIG_DFL)
