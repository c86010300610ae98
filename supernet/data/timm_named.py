"""Data sets by timm's names, such as ``torch/kmnist`` or ``hfds/owner/name``: all that has a slash in its name.

timm.data.create_dataset finds them; streams (``wds/``, ``tfds/``, ``hfids/``) are refused, because a counted order
needs to read any sample at any time.
"""

import importlib.util
import itertools
from collections.abc import Iterable
from typing import Any, SupportsInt

import numpy as np

from ..config import DataConfig
from ..errors import SupernetError, unknown
from .augment import Augment
from .registry import DATASETS, DataSet, data_root, no_kwargs, per_channel
from .sources import ImageInfo, Indices
from .standard import standard
from .wrapped import DatasetSource, Pairs

__all__ = ["timm_named"]

# Remote code is no setting here: a data set of a stranger would run as a program.
SETTINGS = ("name", "train_split", "test_split", "class_map", "input_key", "target_key")
RANDOM_ACCESS = ("hfds", "torch")
STREAMS = ("hfids", "tfds", "wds")


@DATASETS.register("timm")
def timm_named(config: DataConfig) -> DataSet:
    """data.name is timm's name, or data.name=timm with data.kwargs.name; the test split is timm's ``validation``."""
    kwargs = no_kwargs("timm", config, SETTINGS)
    by_group = str(kwargs.pop("name", "") or "")  # data=timm lists it, also where data.name says it
    name = by_group if config.name == "timm" else config.name
    prefix, _, rest = name.removeprefix("timm/").partition("/")
    name = f"{prefix}/{rest}"
    if prefix in STREAMS:
        raise SupernetError(f"data.name={name} is a stream, which has no counted order; use hfds/, torch/ or a folder")
    if prefix not in RANDOM_ACCESS or not rest:
        raise SupernetError(
            unknown("timm data set", name, ["torch/NAME", "hfds/NAME"]) + " (data.name or data.kwargs.name)"
        )
    if prefix == "hfds" and importlib.util.find_spec("datasets") is None:
        raise SupernetError(f"data.name={name} needs Hugging Face's package: pip install datasets")
    train_split, test_split = str(kwargs.pop("train_split", "train")), str(kwargs.pop("test_split", "validation"))
    dataset = _create(name, config, train_split, kwargs)
    labels, names = _labels(dataset), _names(dataset)
    first = dataset[0][0]
    in_chans = config.in_chans or (1 if first.mode in ("1", "L", "I", "F", "I;16") else 3)
    size = config.image_size or min(first.size)
    if labels is None:
        labels = np.asarray([int(dataset[i][1]) for i in range(len(dataset))], dtype=np.int64)
    if not names:
        names = tuple(str(label) for label in range(int(labels.max()) + 1))
    augment = _augment(in_chans)
    info = ImageInfo(
        name=name, num_classes=len(names), class_names=names, in_chans=in_chans, image_size=size,
        mean=augment.mean, std=augment.std,
    )  # fmt: skip

    def test() -> DatasetSource:
        held_out = _create(name, config, test_split, kwargs)
        return DatasetSource(held_out, _labels(held_out), size, in_chans)

    return DataSet(
        info=info, train=DatasetSource(dataset, labels, size, in_chans), augment=augment, open_test=test
    )  # fmt: skip


def _augment(in_chans: int) -> Augment:
    from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

    augment = Augment(**standard("timm", in_chans), mean=IMAGENET_DEFAULT_MEAN, std=IMAGENET_DEFAULT_STD)
    return per_channel(augment, in_chans)


def _create(name: str, config: DataConfig, split: str, kwargs: dict[str, Any]) -> Pairs:
    from timm.data import create_dataset

    root = str(data_root(name, config))
    mode = {} if config.in_chans is None else {"input_img_mode": "L" if config.in_chans == 1 else "RGB"}
    if name.startswith("torch/"):
        mode = {}
    try:
        dataset = create_dataset(name, root=root, split=split, download=config.download, **(mode | kwargs))
        if len(dataset) == 0:
            raise SupernetError(f"data.name={name} has no images in its split {split!r}")
    except SupernetError:
        raise
    except ImportError as error:
        raise SupernetError(f"data.name={name} needs a package that is missing ({_line(error)})") from None
    except Exception as error:  # timm and its readers raise all kinds, AssertionError among them
        raise SupernetError(
            f"timm cannot open data.name={name} split={split!r} in data.root={root} ({_line(error)}); "
            "try data.download=true"
        ) from None
    return dataset


def _labels(dataset: object) -> Indices | None:
    """The labels where they can be had without decoding images."""
    reader = getattr(dataset, "reader", None)
    labels: Iterable[SupportsInt] | None = getattr(dataset, "targets", None)
    if labels is None and reader is not None and hasattr(reader, "iter_targets"):
        labels = reader.iter_targets()
    if labels is None and reader is not None and hasattr(reader, "samples"):
        labels = [sample[1] for sample in reader.samples]
    return None if labels is None else np.asarray([int(label) for label in labels], dtype=np.int64)


def _names(dataset: object) -> tuple[str, ...]:
    if classes := getattr(dataset, "classes", None):
        return tuple(str(c) for c in classes)
    mapping = getattr(getattr(dataset, "reader", None), "class_to_idx", None) or {}
    return tuple(str(name) for name, _ in sorted(mapping.items(), key=lambda item: item[1]))


def _line(error: Exception) -> str:
    return next(itertools.chain(str(error).splitlines(), [type(error).__name__]))[:200]
