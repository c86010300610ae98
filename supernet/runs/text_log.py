"""run.log: what a run has logged and told, with times, appended to by each process that goes on with it."""

import logging
import os
from pathlib import Path
from typing import TextIO

from .. import files

__all__ = ["TextLog"]

FORMAT = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S")


class _Handler(logging.StreamHandler[TextIO]):
    """Writes records; where nothing else handles them, warnings still reach the screen, as they do without it."""

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        alone = logging.getLogger("supernet").handlers == [self] and not logging.getLogger().handlers
        if alone and record.levelno >= logging.WARNING and logging.lastResort is not None:
            logging.lastResort.handle(record)


class TextLog:
    """Takes every record of the package's loggers, from its making until `close`."""

    def __init__(self, path: Path) -> None:
        self._file = open(files.open_own(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "a", encoding="utf-8")  # noqa: SIM115 - closed by `close`
        self._handler = _Handler(self._file)
        self._handler.setFormatter(FORMAT)
        self._logger = logging.getLogger("supernet")
        self._logger.addHandler(self._handler)

    def write(self, text: str) -> None:
        """A line that goes into this file alone."""
        record = self._logger.makeRecord(self._logger.name, logging.INFO, __file__, 0, text, (), None)
        self._handler.handle(record)

    def close(self) -> None:
        self._logger.removeHandler(self._handler)
        self._handler.close()
        self._file.close()
