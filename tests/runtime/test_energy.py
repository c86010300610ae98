"""Energy: what NVML and RAPL would say, from made-up ones; and joules in the log where there is a counter."""

import ctypes
from pathlib import Path

import pytest
import torch

import supernet
from supernet.runs.log import read_metrics
from supernet.runtime.energy import counter_of, gpu_counter, processor_counter


class Nvml:
    """Stands for the library: each look costs 1.5 J; from the fourth one on it fails."""

    def __init__(self, has_counter: bool = True) -> None:
        self.has_counter, self.looks, self.asked = has_counter, 0, b""

    def nvmlInit_v2(self) -> int:
        return 0

    def nvmlDeviceGetHandleByUUID(self, uuid: bytes, handle: object) -> int:
        self.asked = uuid
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: object, to: object) -> int:
        self.looks += 1
        if not self.has_counter or self.looks > 3:
            return 3
        ctypes.cast(to, ctypes.POINTER(ctypes.c_ulonglong))[0] = 1_000_000 + 1500 * self.looks  # type: ignore[call-overload]
        return 0


def test_a_gpu_counts_in_millijoules() -> None:
    library = Nvml()
    counter = gpu_counter(library, "GPU-12")  # type: ignore[arg-type]
    assert counter is not None and library.asked == b"GPU-12"
    assert [counter() for _ in range(4)] == [1003.0, 1004.5, 1004.5, 1004.5]
    assert gpu_counter(Nvml(has_counter=False), "GPU-12") is None  # type: ignore[arg-type]


def package(folder: Path, name: str, now: int, most: int = 999) -> Path:
    (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / name / "energy_uj").write_text(f"{now}\n")
    (folder / name / "max_energy_range_uj").write_text(f"{most}\n")
    return folder / name / "energy_uj"


def test_a_processor_counts_in_rounds(tmp_path: Path) -> None:
    one, other = package(tmp_path, "intel-rapl:0", 900), package(tmp_path, "intel-rapl:1", 10)
    package(tmp_path, "intel-rapl:0:0", 5)  # a part of the first
    counter = processor_counter(tmp_path)
    assert counter is not None and counter() == 0
    one.write_text("950")
    assert counter() == pytest.approx(50e-6)
    one.write_text("25")  # it has begun anew behind 999
    other.write_text("110")
    assert counter() == pytest.approx((50 + 75 + 100) * 1e-6)
    other.unlink()
    assert counter() == pytest.approx(225e-6)
    assert processor_counter(tmp_path) is None and processor_counter(tmp_path / "none") is None
    assert processor_counter(tmp_path / "intel-rapl:0") is None
    assert counter_of(torch.device("meta")) is None


def test_the_log_has_the_joules_of_each_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spent = iter(range(0, 1000, 7))
    monkeypatch.setattr("supernet.stages.running.counter_of", lambda device: lambda: float(next(spent)))
    size = {"channels": 2, "cells_per_stage": 1}
    log = {"every": 2, "progress": False, "tensorboard": False}
    settings = {"data": {"name": "digits", "limit": 32}, "batch_size": 8, "network": size, "log": log}
    supernet.search("nasbench201", epochs=2, run=tmp_path / "run", **settings)
    rows = [row for row in read_metrics(tmp_path / "run" / "metrics.jsonl") if "val/top1" in row]
    assert [row["time"]["joules"] for row in rows] == [7.0, 7.0]
