"""One line that says how far a run is: rewritten in place on a terminal, now and then a plain line elsewhere.

epoch 3/50  step 120/600  loss 1.234  acc 56.7 %  12.3 img/s  left 1m20s
"""

import os
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TextIO

__all__ = ["Progress", "duration"]

WINDOW = 50  # updates that the moving rate looks back: long enough to smooth, short enough to follow a slow spell
REDRAW = 0.1  # seconds between two redraws on a terminal

Values = Mapping[str, str | float]


class Progress:
    """The progress line of a run of `epochs` times `steps` steps, or without epochs; a context manager.

    On a terminal it is redrawn at most ten times a second; elsewhere (a file, a pipe, TERM=dumb) after the first step,
    every `every` steps and at the end of each epoch. NO_COLOR switches the colour off.
    """

    def __init__(
        self,
        epochs: int | None,
        steps: int,
        *,
        every: int = 10,
        enabled: bool = True,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.epochs, self.steps, self.every, self.enabled = epochs, steps, every, enabled
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._tty = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._colour = self._tty and not os.environ.get("NO_COLOR")
        self._seen: deque[tuple[float, int, int]] = deque(maxlen=WINDOW + 1)  # time, steps done, images done
        self._images = 0
        self._drawn = 0  # length of the line that stands on the terminal
        self._next = -float("inf")

    def update(self, epoch: int, step: int, values: Values | Callable[[], Values] = {}, images: int = 0) -> None:  # noqa: B006
        """After step `step` (1..steps) of epoch `epoch` (1..epochs; 1 without epochs), which took `images` samples.

        `values` may be a function: it is called only where the line is shown, so that a value on a device need not be
        waited for at every step. `acc` is a share in 0..1.
        """
        if not self.enabled:
            return
        now = self._clock()
        done = (epoch - 1) * self.steps + step
        self._images += images
        self._seen.append((now, done, self._images))
        # The first step shows that something happens, long before there are ten.
        shown = now >= self._next if self._tty else step % self.every == 0 or len(self._seen) == 1
        if not (shown or step == self.steps):
            return
        self._next = now + REDRAW
        fields = [f"epoch {epoch}/{self.epochs}"] if self.epochs is not None else []
        fields.append(f"step {step}/{self.steps}")
        shown_values = values() if callable(values) else values
        fields += [f"{name} {_shown(name, value)}" for name, value in shown_values.items()]
        self._show(fields + self._pace(done))

    def left(self) -> float | None:
        """Seconds until the last step, by the pace of the last steps; None before there is one to go by."""
        if len(self._seen) < 2:
            return None
        (start, steps, _), (now, done, _) = self._seen[0], self._seen[-1]
        return ((self.epochs or 1) * self.steps - done) * (now - start) / max(done - steps, 1)

    def message(self, text: str) -> None:
        """A line of its own that stays."""
        if self.enabled:
            self._clear()
            print(text, file=self._stream, flush=True)

    def close(self) -> None:
        """Leaves the last line standing and goes to the next."""
        if self._drawn:
            print(file=self._stream, flush=True)
            self._drawn = 0

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _pace(self, done: int) -> list[str]:
        """Images a second and time left, from the moving window; nothing before there are two updates."""
        (start, steps, images), (now, _, all_images) = self._seen[0], self._seen[-1]
        if now <= start or done <= steps:
            return []
        left = ((self.epochs or 1) * self.steps - done) * (now - start) / (done - steps)
        rate = (all_images - images) / (now - start)
        return ([f"{rate:.1f} img/s"] if rate else []) + [f"left {duration(left)}"]

    def _show(self, fields: list[str]) -> None:
        if not self._tty:
            print("  ".join(fields), file=self._stream, flush=True)
            return
        width = shutil.get_terminal_size().columns - 1
        while len(fields) > 3 and len("  ".join(fields)) > width:  # a line that wraps cannot be rewritten
            del fields[-2 if fields[-1].startswith("left") else -1]
        text = "  ".join(fields)[:width]
        self._clear()
        if self._colour:
            name, _, rest = text.partition(" ")
            self._stream.write(f"\x1b[36m{name}\x1b[0m {rest}")
        else:
            self._stream.write(text)
        self._stream.flush()
        self._drawn = len(text)

    def _clear(self) -> None:
        if self._drawn:
            self._stream.write("\r" + " " * self._drawn + "\r")
            self._drawn = 0


def duration(seconds: float) -> str:
    """`8s`, `1m20s`, `2h05m`, `3d04h`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def _shown(name: str, value: str | float) -> str:
    if isinstance(value, (str, int)):
        return str(value)
    number = float(value)
    if name.endswith("acc"):
        return f"{100 * number:.1f} %"
    return f"{number:.3f}" if number == 0 or 1e-3 <= abs(number) < 1e4 else f"{number:.3g}"
