"""Data by count: sources, splits with a gate before the test, loaders whose batches are functions of their number.

The names below are loaded when they are first used, so that a finished run is told from its data without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..counter import derive, permutation, uniform
    from .augment import Augment
    from .loader import Batch, CountedLoader, CyclingLoader, EvalLoader
    from .memory.arrays import from_arrays
    from .registry import DATASETS, DataSet
    from .sources import Counter, FileSource, ImageInfo, Source, TensorSource
    from .splits import Splits, open_data
    from .timm_eval import timm_test_loader
    from .view import View
    from .wrapped import DatasetSource, TransformSource

__all__ = [
    "DATASETS", "Augment", "Batch", "CountedLoader", "Counter", "CyclingLoader", "DataSet", "DatasetSource",
    "EvalLoader", "FileSource", "ImageInfo", "Source", "Splits", "TensorSource", "TransformSource", "View", "derive",
    "from_arrays", "open_data", "permutation", "timm_test_loader", "uniform",
]  # fmt: skip

_HOME = {
    "Augment": ".augment",
    "Batch": ".loader",
    "CountedLoader": ".loader",
    "Counter": ".sources",
    "CyclingLoader": ".loader",
    "DATASETS": ".splits",  # where it is filled
    "DataSet": ".registry",
    "DatasetSource": ".wrapped",
    "EvalLoader": ".loader",
    "FileSource": ".sources",
    "ImageInfo": ".sources",
    "Source": ".sources",
    "Splits": ".splits",
    "TensorSource": ".sources",
    "TransformSource": ".wrapped",
    "View": ".view",
    "derive": "..counter",
    "from_arrays": ".memory.arrays",
    "open_data": ".splits",
    "permutation": "..counter",
    "timm_test_loader": ".timm_eval",
    "uniform": "..counter",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_HOME[name], __name__), name)
    globals()[name] = value
    return value
