"""A kernel is named by its file and its C++ name with all template arguments: shapes are constants of the code."""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["FOLDER", "Kernel"]

FOLDER = Path(__file__).resolve().parents[1]  # of all sources, which name their headers from here


@dataclass(frozen=True)
class Kernel:
    """`name` such as "node_mix_fwd<float, 14, 16, 4>", found in the file `source` below FOLDER."""

    source: str
    name: str

    @property
    def path(self) -> Path:
        return FOLDER / self.source
