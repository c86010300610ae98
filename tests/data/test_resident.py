"""Data on the device: the bits of the host's batches, moved once, and nothing that crosses within an epoch."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from supernet.config import SearchConfig, from_mapping
from supernet.data import Augment, CountedLoader, CyclingLoader, EvalLoader, TensorSource, View, from_arrays
from supernet.data import resident as module
from supernet.data.resident import Resident, Residents
from supernet.data.splits import open_data
from supernet.errors import SupernetError
from supernet.runtime.host_reads import HostReads
from supernet.stages.run_search import run_search
from tests.support.searches import TINY, same, search_config

CPU = torch.device("cpu")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
AUGMENTS = [
    Augment(pad=4, flip=True, cutout=5, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.1)),
    Augment(pad=2),
    Augment(flip=True, cutout=16, mean=(0.5,), std=(0.25,)),
    Augment(),
]


def view(augment: Augment, dtype: torch.dtype = torch.uint8, n: int = 23, size: tuple[int, int] = (16, 13)) -> View:
    generator = torch.Generator().manual_seed(n)
    pixels = torch.randint(256, (n, max(len(augment.mean), 1), *size), generator=generator).to(dtype)
    return View(TensorSource(pixels, torch.arange(n) % 7), np.arange(n)[::-1].copy(), augment)


def equal(one: Any, other: Any) -> None:
    for a, b in itertools.zip_longest(one, other):
        same(list(a), list(b))


@pytest.mark.parametrize("augment", AUGMENTS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_batches_have_the_bits_of_those_from_the_host(augment: Augment, dtype: torch.dtype) -> None:
    data = view(augment, dtype)
    found = Residents(CPU, "on").of(data)
    assert found is not None
    settings: list[dict[str, Any]] = [{}, {"drop_last": False}, {"augment": False}, {"share": (1, 2)}]
    for more in settings:
        shared = {"batch_size": 6, "seed": 3, "stream": "a", **more}
        host, there = CountedLoader(data, **shared), CountedLoader(data, resident=found, **shared)
        for epoch, start in ((0, 0), (1, 2), (2, len(host))):
            equal(host.epoch(epoch, start), there.epoch(epoch, start))
    equal(EvalLoader(data, batch_size=6), EvalLoader(data, batch_size=6, resident=found))


def test_a_cycle_goes_on_from_any_step() -> None:
    data = view(AUGMENTS[0])
    host, there = (CyclingLoader(CountedLoader(data, batch_size=5, seed=1, stream="alphas", resident=found))
                   for found in (None, Residents(CPU, "on").of(data)))  # fmt: skip
    for step in (0, 1, 5, 6, 3, 4, 5):
        same(list(host.at(step)), list(there.at(step)))


def test_draws_are_counted_once_an_epoch_and_nothing_crosses_after(monkeypatch: pytest.MonkeyPatch) -> None:
    data, moved, counted = view(AUGMENTS[0]), [], []
    original, draws = module.to_device, Augment.draws
    monkeypatch.setattr(module, "to_device", lambda t, device: moved.append(t.shape) or original(t, device))
    monkeypatch.setattr(Augment, "draws", lambda *a: counted.append(1) or draws(*a))
    loader = CountedLoader(data, batch_size=5, seed=0, stream="a", resident=Resident(data.source, CPU))  # type: ignore[arg-type]
    batches = loader.epoch(0)
    next(batches)
    with HostReads(CPU, forbid=True):
        assert len(list(batches)) == len(loader) - 1
    assert (moved, len(counted)) == ([(20,), (20, 5)], 1), "the numbers and the draws of all samples, once"


def test_loaders_of_one_source_share_one_copy() -> None:
    splits = from_arrays((np.zeros((20, 1, 8, 8), dtype=np.uint8), np.arange(20) % 2))
    weights, alphas = splits.for_search()
    residents = Residents(CPU, "on")
    assert residents.of(weights) is residents.of(alphas) is not None
    assert Residents(CPU, "off").of(weights) is None and Residents(CPU, "auto").of(weights) is None


def test_what_cannot_be_moved_is_refused_by_name() -> None:
    data = view(AUGMENTS[1]).with_transform(lambda picture: torch.zeros(1, 8, 8))
    assert Residents(CPU, "auto").of(data) is None
    with pytest.raises(SupernetError, match=r"data\.resident=on .*data\.resident=auto"):
        Residents(CPU, "on").of(data)
    with pytest.raises(SupernetError, match=r"data\.resident"):
        from_mapping(SearchConfig, {"data": {"resident": "yes"}})


def test_a_search_ends_with_the_same_bits(tmp_path: Path) -> None:
    found = []
    for setting in ("on", "off"):
        config = search_config(
            tmp_path / setting, "darts", "darts_first_order", data={**TINY["data"], "resident": setting}
        )
        found.append(run_search(config, until=4).net.state_dict())
    same(*found)


@needs_gpu
def test_a_gpu_makes_the_same_batches_either_way() -> None:
    data = open_data(from_mapping(SearchConfig, TINY).data, 0).for_search()[0]
    found = Residents("cuda", "auto").of(data)
    assert found is not None and found.images.is_cuda
    shared: dict[str, Any] = {"batch_size": 10, "seed": 3, "stream": "a", "device": torch.device("cuda")}
    equal(CountedLoader(data, **shared).epoch(1), CountedLoader(data, resident=found, **shared).epoch(1))


@needs_gpu
def test_a_gpu_without_room_leaves_them_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    data = view(AUGMENTS[0])
    monkeypatch.setattr(module, "SHARE", 0.0)
    assert Residents("cuda", "auto").of(data) is None
    assert Residents("cuda", "on").of(data) is not None
