"""Data by count: sources, splits with a gate before the test, loaders whose batches are functions of their number."""

from ..counter import derive, permutation, uniform
from .arrays import from_arrays
from .augment import Augment
from .loader import Batch, CountedLoader, CyclingLoader, EvalLoader
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
