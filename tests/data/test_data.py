"""Data: batches that no worker changes, splits, the gate before the test split, and one-line errors."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from supernet import files
from supernet.config import DataConfig
from supernet.data import (
    Augment,
    Batch,
    CountedLoader,
    CyclingLoader,
    EvalLoader,
    FileSource,
    Splits,
    TensorSource,
    View,
    from_arrays,
    open_data,
    registry,
    timm_test_loader,
    torchvision_named,
)  # fmt: skip
from supernet.errors import ClosedSplitError, SupernetError

# ---------------------------------------------------------------------------------------------- files and workers


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of tiny pictures of all sizes and modes, the class "10" after "2" in natural order."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for split, count in (("train", 7), ("test", 3)):
        for name in ("10", "2"):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (9 + i, 14 - i, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{i}.png")
    return folder


def _files(root: Path, **kwargs: Any) -> View:
    data = open_data(DataConfig(name="folder", root=str(root), image_size=8, **kwargs), 0)
    return data.for_retrain(0)[0]


def _hash(batches: Any) -> list[str]:
    return [hashlib.sha256(b.images.numpy().tobytes() + b.index.numpy().tobytes()).hexdigest() for b in batches]


def test_workers_change_no_batch(root: Path) -> None:
    view, seen = _files(root, kwargs={"crop_scale": [0.2, 1.0]}), []
    for workers in (0, 1, 2):
        loader = CountedLoader(view, batch_size=4, seed=3, stream="weights", workers=workers)
        state = torch.get_rng_state()
        seen.append([_hash(loader.epoch(epoch)) for epoch in range(3)])
        assert torch.equal(torch.get_rng_state(), state)  # workers must not draw from the training's generator
        loader.close()
    assert seen[0] == seen[1] == seen[2]
    assert len({h for epoch in seen[0] for h in epoch}) == 9  # three batches an epoch, all different


def test_a_change_of_workers_amid_an_epoch(root: Path) -> None:
    view = _files(root)

    def loader(workers: int) -> CountedLoader:
        return CountedLoader(view, batch_size=3, seed=3, stream="weights", workers=workers)

    whole = [_hash(loader(0).epoch(e)) for e in (0, 1)]
    with_two = loader(2)
    batches = with_two.epoch(0)
    first = _hash([next(batches)])
    assert first + _hash(loader(1).epoch(0, start=1)) == whole[0]
    assert _hash(with_two.epoch(1)) == whole[1]  # the same workers after an epoch that was left early
    with pytest.raises(RuntimeError, match="began another"):
        next(batches)
    with_two.close()


class _Watched(TensorSource):
    """Remembers what was read."""

    def fetch(self, index: Any, at: Any) -> tuple[Tensor, Tensor]:
        self.__dict__.setdefault("read", []).extend(index.tolist())
        return super().fetch(index, at)


def _view(n: int, source: type[TensorSource] = TensorSource) -> View:
    pixels = torch.randint(256, (n, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(n))
    return View(source(pixels, torch.arange(n) % 3), np.arange(n), Augment(pad=1, flip=True))


def test_skipped_batches_are_not_read() -> None:
    view = _view(20, _Watched)
    loader = CountedLoader(view, batch_size=4, seed=0, stream="a")
    rest = [b.index.tolist() for b in loader.epoch(5, start=3)]
    assert rest == [part.tolist() for part in loader.indices(5)[3:]]
    assert view.source.read == [i for part in rest for i in part]  # type: ignore[attr-defined]


@pytest.mark.parametrize("workers", [0, 1])
def test_cycling_is_a_function_of_the_step(root: Path, workers: int) -> None:
    view = _files(root)
    plain = CountedLoader(view, batch_size=5, seed=1, stream="alphas")
    expected = _hash([b for epoch in range(4) for b in plain.epoch(epoch)])
    cycling = CyclingLoader(CountedLoader(view, batch_size=5, seed=1, stream="alphas", workers=workers))
    assert _hash(cycling.at(step) for step in (0, 1, 2, 3, 5, 4, 7)) == [expected[s] for s in (0, 1, 2, 3, 5, 4, 7)]
    resumed = cycling.from_step(3)
    assert _hash(next(resumed) for _ in range(3)) == expected[3:6]
    resumed.close()  # type: ignore[attr-defined]
    cycling.close()


def test_each_epoch_has_every_sample_once_and_streams_differ() -> None:
    view = _view(21)
    loader = CountedLoader(view, batch_size=4, seed=0, stream="a", drop_last=False)
    assert len(loader) == 5  # the sixth batch would be a single sample
    assert len(CountedLoader(view, batch_size=6, seed=0, stream="a", drop_last=False)) == 4
    assert len(CountedLoader(view, batch_size=6, seed=0, stream="a")) == 3
    drawn = [i for b in CountedLoader(view, batch_size=7, seed=0, stream="a").epoch(1) for i in b.index.tolist()]
    assert sorted(drawn) == list(range(21))
    assert drawn != [
        i for b in CountedLoader(view, batch_size=7, seed=0, stream="b").epoch(1) for i in b.index.tolist()
    ]


def test_small_views() -> None:
    batch = next(CountedLoader(_view(5), batch_size=64, seed=0, stream="a").epoch(0))
    assert isinstance(batch, Batch)
    assert batch.images.shape == (5, 1, 8, 8)
    with pytest.raises(SupernetError, match="2 or more"):
        CountedLoader(_view(1), batch_size=64, seed=0, stream="a")


def test_evaluation_is_in_order(root: Path) -> None:
    view = _files(root)
    for workers in (0, 2):
        loader = EvalLoader(view, batch_size=4, workers=workers)
        batches = list(loader)
        loader.close()
        assert len(batches) == len(loader) == 4
        assert torch.cat([b.index for b in batches]).tolist() == list(range(14))
        images = torch.cat([b.images for b in batches])
        assert torch.equal(images, view.augment.apply(view.source.fetch(view.index, None)[0]))


# ---------------------------------------------------------------------------------------------- pictures of all kinds


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "I;16", "LA", "CMYK"])
@pytest.mark.parametrize("size", [(1, 1), (3, 40), (20, 11)])
@pytest.mark.parametrize("in_chans", [1, 3])
def test_any_picture_becomes_a_square(tmp_path: Path, mode: str, size: tuple[int, int], in_chans: int) -> None:
    image = (
        Image.effect_noise(size, 50) if mode == "I;16" else Image.effect_noise(size, 50).convert("RGB").convert(mode)
    )
    path = tmp_path / ("x.tif" if mode == "CMYK" else "x.png")
    options: dict[str, Any] = {"transparency": b"\x00\x80"} if mode == "P" else {}
    image.save(path, **options)
    for scale in (None, (0.1, 1.0)):
        source = FileSource((str(path),), np.zeros(1, dtype=np.int64), 8, in_chans, scale)
        images = next(iter(CountedLoader(View(source, np.zeros(2, dtype=np.int64), Augment()), batch_size=2, seed=0,
                                         stream="a").epoch(0))).images  # fmt: skip
        assert images.shape == (2, in_chans, 8, 8)
        assert source.fetch(np.zeros(1, dtype=np.int64), None)[0].dtype == torch.uint8


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_picture_is_one_line(tmp_path: Path, workers: int) -> None:
    for name in ("a", "b"):
        (tmp_path / "train" / name).mkdir(parents=True)
        (tmp_path / "train" / name / "x.png").write_bytes(b"no picture")
    loader = CountedLoader(_files(tmp_path), batch_size=2, seed=0, stream="a", workers=workers)
    with pytest.raises(SupernetError, match=r"^image .*x\.png cannot be read \(.*\); repair or delete it$"):
        list(loader.epoch(0))
    loader.close()


def _folder(*files: str) -> Callable[[Path], DataConfig]:
    def make(root: Path) -> DataConfig:
        for name in files:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if name.endswith(".png"):
                Image.new("L", (4, 4)).save(path)
        return DataConfig(name="folder", root=str(root))

    return make


MISTAKES: list[tuple[Callable[[Path], DataConfig], str]] = [
    (lambda r: DataConfig(name="folder"), "data.root is not set"),
    (lambda r: DataConfig(name="folder", root=str(r / "no")), "is no folder"),
    (lambda r: DataConfig(name="folder", root="\0"), "is no folder"),
    (_folder(), "needs train/CLASS/IMAGE"),
    (_folder("train/x"), "has no class folders"),
    (_folder("train/cat/1.png", "train/dog/x.txt"), "dog has no images"),
    (lambda r: DataConfig(name="cifar10"), "data.root is not set; cifar10 needs data.root=PATH"),
    (lambda r: DataConfig(name="cifar10", root=str(r)), "try data.download=true"),
    (lambda r: DataConfig(name="cifra10"), "did you mean 'cifar10'"),
    (lambda r: DataConfig(name="digits", in_chans=2), "must be 1"),
    (lambda r: DataConfig(name="digits", kwargs={"x": 1}), "unknown setting"),
    (lambda r: DataConfig(name="folder", root=str(r), kwargs={"crop_scale": [2, 1]}), "crop_scale"),
    (lambda r: DataConfig(name="wds/x", root=str(r)), "is a stream"),
    (lambda r: DataConfig(name="torch/nothing", root=str(r)), "timm cannot open"),
    (lambda r: DataConfig(name="../../etc", root=str(r)), "unknown timm data set"),
    (lambda r: DataConfig(name="hfds/a/b", root=str(r), kwargs={"trust_remote_code": True}), "trust_remote_code"),
]


@pytest.mark.parametrize(("make", "message"), MISTAKES)
def test_mistakes_are_one_line(tmp_path: Path, make: Callable[[Path], DataConfig], message: str) -> None:
    with pytest.raises(SupernetError) as caught:
        open_data(make(tmp_path), 0)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_class_that_training_lacks(tmp_path: Path) -> None:
    data = open_data(_folder("train/cat/1.png", "train/dog/1.png", "test/dgo/1.png")(tmp_path), 0)
    with data.final_evaluation(), pytest.raises(SupernetError, match="did you mean 'dog'"):
        data.test()


# ---------------------------------------------------------------------------------------------- splits and the gate


def test_digits() -> None:
    data = open_data(DataConfig(), 0)
    train, val = data.for_retrain(0)
    assert (len(train), val, train.source.fetch(train.index[:1], None)[0].shape) == (1437, None, (1, 1, 8, 8))
    with data.final_evaluation():
        test = data.test()
    with (other := open_data(DataConfig(), 1)).final_evaluation():
        again = other.test()
    assert torch.equal(test.source.images, again.source.images)  # type: ignore[attr-defined]
    assert np.bincount(test.labels).tolist() == [36] * 10  # type: ignore[arg-type]

    def rows(view: View) -> list[bytes]:
        return [i.numpy().tobytes() for i in view.source.fetch(view.index, None)[0]]

    assert not set(rows(train)) & set(rows(test))
    assert len(set(rows(train) + rows(test))) == 1797


def test_search_and_retrain_splits() -> None:
    data = open_data(DataConfig(), 5)
    weights, alphas = data.for_search(0.3)
    assert sorted([*weights.index, *alphas.index]) == list(range(1437))
    assert len(alphas) == pytest.approx(0.3 * 1437, abs=5)
    for share in np.bincount(alphas.labels) / np.bincount(data.for_retrain(0)[0].labels):  # type: ignore[arg-type]
        assert share == pytest.approx(0.3, abs=0.01)
    again, other = open_data(DataConfig(), 5).for_search(0.3), open_data(DataConfig(), 6).for_search(0.3)
    assert again[1].index.tolist() == alphas.index.tolist() != other[1].index.tolist()
    train, val = data.for_retrain(0.1)
    assert val is not None
    assert sorted([*train.index, *val.index]) == list(range(1437))


@pytest.mark.parametrize("limit", [2, 7, 100, 9999])
def test_limit_and_rare_classes(limit: int) -> None:
    weights, alphas = open_data(DataConfig(limit=limit), 0).for_search(0.5)
    assert len(weights) + len(alphas) == min(limit, 1437)
    assert min(len(weights), len(alphas)) > 0
    assert not set(weights.index) & set(alphas.index)
    labels = np.concatenate([weights.labels, alphas.labels])
    if limit >= 100:  # every class with two samples is in both parts
        assert set(weights.labels) == set(alphas.labels) == set(labels)  # type: ignore[arg-type]


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_two_samples_of_a_class_go_apart(share: float) -> None:
    labels = torch.tensor([0] * 50 + [1, 1] + [2] + [3, 3, 3])
    first, second = from_arrays((torch.zeros(len(labels), 1), labels)).for_search(share)
    assert set(first.labels) == {0, 1, 2, 3}  # type: ignore[arg-type]
    assert set(second.labels) == {0, 1, 3}  # type: ignore[arg-type]


def test_one_sample_cannot_be_cut() -> None:
    with pytest.raises(SupernetError, match="cannot cut 1"):
        open_data(DataConfig(limit=1), 0).for_search(0.5)


def _noting(notes: list[Any], note: Any, value: Any) -> Any:
    notes.append(note)
    return value


def test_the_test_split_stays_closed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    plain = files.open_plain
    monkeypatch.setattr(files, "open_plain", lambda path, *a, **k: _noting(read, str(path), plain(path, *a, **k)))
    scanned: list[str] = []
    listed = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: _noting(scanned, str(path), listed(path)))
    data = open_data(DataConfig(name="folder", root=str(root), image_size=8), 0)
    for view in (*data.for_search(0.5), *data.for_retrain(0.3)):
        assert view is not None
        list(CountedLoader(view, batch_size=4, seed=0, stream="a").epoch(0))
        with pytest.raises(ClosedSplitError):
            data.test()
    assert read
    assert not [path for path in read + scanned if f"{root}/test" in path]
    with data.final_evaluation():
        assert len(data.test()) == 6
    assert [path for path in scanned if f"{root}/test" in path]
    with pytest.raises(ClosedSplitError, match="closed"):
        data.test()
    with pytest.raises(ClosedSplitError, match="once"), data.final_evaluation():
        pass


@pytest.mark.parametrize("name", ["digits", "cluttered_digits", *torchvision_named.NAMED])
def test_search_opens_training_data_only(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every entry that is held in memory: its reader is asked for the test part by the final evaluation alone."""
    asked: list[bool] = []
    if name.endswith("digits"):
        used, reader = registry.DATASETS[name].__globals__, "read_digits"
        plain = used[reader]
        replaced = lambda train: _noting(asked, train, plain(train))  # noqa: E731
        monkeypatch.setitem(used, reader, replaced)
    else:
        monkeypatch.setattr(torchvision_named, "_open", lambda n, c, train: _noting(asked, train, _Fake(n, train)))
    data = open_data(DataConfig(name=name, root=str(tmp_path)), 0)
    for view in data.for_search(0.5):
        next(CountedLoader(view, batch_size=4, seed=0, stream="a").epoch(0))
    assert asked
    assert all(asked)
    assert data.info.in_chans == (3 if name in ("cifar10", "cifar100", "svhn") else 1)
    with data.final_evaluation():
        test = data.test()
    assert not asked[-1]
    assert next(iter(EvalLoader(test, batch_size=4))).images.shape[1] == data.info.in_chans


class _Fake:
    """The attributes of torchvision's classes that are read."""

    def __init__(self, name: str, train: bool) -> None:
        n, rng = (40 if train else 10), np.random.default_rng(train)
        shape = {"svhn": (n, 3, 32, 32), "mnist": (n, 28, 28), "fashion_mnist": (n, 28, 28)}.get(name, (n, 32, 32, 3))
        self.data = rng.integers(0, 256, shape, dtype=np.uint8)
        self.targets = self.labels = (np.arange(n) % 10).tolist()
        self.classes = [str(i) for i in range(10)]


def test_other_channels_and_sizes() -> None:
    pixels = torch.randint(256, (50, 3, 6, 6), dtype=torch.uint8)
    grey = registry.fit_pixels(pixels, 1, None)
    expected = [np.array(Image.fromarray(p.permute(1, 2, 0).numpy()).convert("L")) for p in pixels]
    np.testing.assert_array_equal(grey[:, 0].numpy(), np.stack(expected))
    data = open_data(DataConfig(in_chans=3, image_size=16, pad=0, cutout=0), 0)
    images = next(CountedLoader(data.for_search(0.5)[0], batch_size=4, seed=0, stream="a").epoch(0)).images
    assert images.shape == (4, 3, 16, 16)
    assert torch.equal(images[:, 0], images[:, 2])
    assert (data.info.in_chans, data.info.image_size, len(data.info.mean)) == (3, 16, 3)
    assert (data.augment.pad, data.augment.cutout) == (0, 0)


# ---------------------------------------------------------------------------------------------- timm


@pytest.mark.parametrize("kind", ["digits", "folder", "grey folder"])
def test_timm_loads_the_same_tensors(root: Path, kind: str) -> None:
    config = {
        "digits": DataConfig(),
        "folder": DataConfig(name="folder", root=str(root), image_size=8),
        "grey folder": DataConfig(name="folder", root=str(root), image_size=12, in_chans=1),
    }[kind]
    data = open_data(config, 0)
    with data.final_evaluation():
        test = data.test()
    ours = list(EvalLoader(test, batch_size=4))
    theirs = list(timm_test_loader(test, data.info, batch_size=4))
    assert len(ours) == len(theirs)
    for batch, (images, labels) in zip(ours, theirs, strict=True):
        torch.testing.assert_close(images, batch.images, atol=1e-6, rtol=0)
        assert torch.equal(labels, batch.targets)


def test_folders_are_numbered_as_torchvision_numbers_them(root: Path) -> None:
    from torchvision.datasets import ImageFolder

    data = open_data(DataConfig(name="folder", root=str(root), image_size=8), 0)
    theirs = ImageFolder(str(root / "test"))
    with data.final_evaluation():
        test = data.test()
    assert data.info.class_names == ("10", "2") == tuple(theirs.classes)
    assert test.source.paths == tuple(path for path, _ in theirs.samples)  # type: ignore[attr-defined]
    assert test.labels.tolist() == [label for _, label in theirs.samples]  # type: ignore[union-attr]


def test_timms_names(root: Path) -> None:
    config = DataConfig(name="torch/image_folder", root=str(root), image_size=8, kwargs={"test_split": "test"})
    data = open_data(config, 0)
    assert (data.info.num_classes, data.info.in_chans) == (2, 3)
    weights, alphas = data.for_search(0.5)
    assert len(weights) + len(alphas) == 14
    batch = next(CountedLoader(weights, batch_size=4, seed=0, stream="a").epoch(0))
    assert batch.images.shape == (4, 3, 8, 8)
    with data.final_evaluation():
        assert len(list(EvalLoader(data.test(), batch_size=4))) == 2


@pytest.mark.parametrize("kind", ["digits", "folder"])
def test_timms_transforms_are_counted(root: Path, kind: str) -> None:
    from timm.data import create_transform

    view = _files(root) if kind == "folder" else open_data(DataConfig(in_chans=3, limit=14), 0).for_retrain(0)[0]
    recipe = {"is_training": True, "auto_augment": "rand-m9-mstd0.5-inc1", "re_prob": 0.5, "re_mode": "pixel"}
    moved = view.with_transform(create_transform((3, 8, 8), **recipe))  # type: ignore[arg-type]
    seen = []
    for workers in (0, 2):
        loader = CountedLoader(moved, batch_size=4, seed=3, stream="train", workers=workers)
        torch.manual_seed(workers)
        np.random.seed(workers)
        before = (torch.get_rng_state().tolist(), np.random.get_state()[1].tolist())  # type: ignore[index]
        seen.append([_hash(loader.epoch(e)) for e in (0, 1)] + [_hash(loader.epoch(1, start=2))])
        assert before == (torch.get_rng_state().tolist(), np.random.get_state()[1].tolist())  # type: ignore[index]
        loader.close()
    assert seen[0] == seen[1]
    assert seen[0][1][2:] == seen[0][2]
    assert seen[0][0] != seen[0][1]
    plain, through = next(iter(EvalLoader(view, batch_size=4))), next(iter(EvalLoader(moved, batch_size=4)))
    assert torch.equal(plain.images, through.images)


# ---------------------------------------------------------------------------------------------- notebooks


def _pairs(n: int) -> list[tuple[Image.Image, int]]:
    return [(Image.new("RGB", (10, 8), (i, 0, 0)), i % 2) for i in range(n)]


@pytest.mark.parametrize("kind", ["tensors", "numpy", "channels last", "floats", "dataset", "pictures", "subset"])
def test_from_arrays(kind: str) -> None:
    labels = torch.arange(20) % 4
    pixels = torch.randint(256, (20, 3, 8, 8), dtype=torch.uint8)
    data = {
        "tensors": (pixels, labels),
        "numpy": (pixels.numpy(), labels.numpy().astype(np.int32)),
        "channels last": (pixels.permute(0, 2, 3, 1).numpy(), labels.numpy()),
        "floats": (pixels.double() / 255, labels),
        "dataset": torch.utils.data.TensorDataset(pixels, labels),
        "pictures": _pairs(20),
        "subset": torch.utils.data.Subset(torch.utils.data.TensorDataset(pixels, labels), range(4, 20)),
    }[kind]
    splits = from_arrays(data, test=data)
    assert isinstance(splits, Splits)
    assert (splits.info.num_classes, splits.info.in_chans) == (2 if kind == "pictures" else 4, 3)
    weights, alphas = splits.for_search(0.5)
    batch = next(CountedLoader(weights, batch_size=4, seed=0, stream="a").epoch(0))
    assert batch.images.shape == (4, 3, 8, 8)
    assert batch.images.dtype == torch.float32
    if kind in ("tensors", "channels last", "floats"):
        torch.testing.assert_close(batch.images, pixels[batch.index].float() / 255)
    with pytest.raises(ClosedSplitError):
        splits.test()
    with splits.final_evaluation():
        assert len(splits.test()) == len(weights) + len(alphas)


def test_from_arrays_with_validation() -> None:
    train, val = (torch.randn(12, 5), torch.randn(12)), (torch.randn(6, 5), torch.randn(6))
    splits = from_arrays(train, val)
    weights, alphas = splits.for_search()
    assert (len(weights), len(alphas), splits.info.num_classes) == (12, 6, 0)
    assert splits.for_retrain(0.1)[1] is not None
    batch = next(CountedLoader(alphas, batch_size=6, seed=0, stream="alphas").epoch(0))
    assert torch.equal(batch.images, val[0][batch.index])
    assert torch.equal(batch.targets, val[1][batch.index])
    with splits.final_evaluation(), pytest.raises(SupernetError, match="no test split"):
        splits.test()


@pytest.mark.parametrize(
    "data",
    [5, (torch.zeros(0, 1, 2, 2), torch.zeros(0)), (torch.zeros(2, 1), torch.zeros(3)), [], [1, 2, 3],
     (torch.zeros(2, 1), torch.tensor([-1, 0]))],
)  # fmt: skip
def test_arrays_that_are_none(data: Any) -> None:
    with pytest.raises(SupernetError) as caught:
        from_arrays(data)
    assert "\n" not in str(caught.value)
