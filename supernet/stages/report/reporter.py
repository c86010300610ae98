"""The page of a run at work: written anew now and then, and at the end. It costs little, and no run fails of it."""

import logging
import time
from pathlib import Path
from typing import Protocol

from ...config import LogConfig
from ...space import Space

__all__ = ["Reporter"]

log = logging.getLogger(__name__)

SHARE = 0.02  # of a run's time that pages may take before its end
FIRST = 1.0  # seconds that the first page is taken to need: 0.3 to 0.9 on a core of an AMD EPYC


class _HasPath(Protocol):
    @property
    def path(self) -> Path: ...


class Reporter:
    """Writes report.html of a run folder; of none where `run` is None or the settings switch it off."""

    def __init__(self, run: _HasPath | None, config: LogConfig, space: Space | None, main: bool) -> None:
        self._folder = run.path if run is not None and config.report and main else None
        self._space = space
        self._last, self._needed = time.monotonic(), FIRST

    def epoch(self) -> None:
        """After an epoch was saved: a new page, where the last one is old enough."""
        began = time.monotonic()
        if self._folder is not None and began - self._last >= self._needed / SHARE:
            self._write(self._folder)
            self._last = time.monotonic()
            self._needed = self._last - began

    def end(self) -> None:
        """The last page, once the result is there, with what the network costs."""
        if self._folder is not None:
            self._write(self._folder, ended=True)

    def _write(self, folder: Path, ended: bool = False) -> None:
        try:
            from .write import keep_cost, write_page  # matplotlib and the templates only once there is a page to write

            if ended:
                keep_cost(folder, self._space)
            write_page(folder, self._space)
        except Exception as error:
            log.warning("report.html was not written (%s); supernet report %s tries again", error, folder)
