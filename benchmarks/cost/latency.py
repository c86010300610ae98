"""Latency predicted from measured parts against latency measured, over sampled networks.

    python benchmarks/cost/latency.py [--spaces nasbench201 nas_bench_macro --networks 30 --channels 16]

The parts of each space are timed (`supernet.cost.latency_table`), then whole networks. Some of these calibrate the
scale of the sum; the others are compared: rank correlation (Spearman) and mean relative error. On the processor the
allocator is told to keep its memory: left alone it returns pages to the system between layers and asks for them again,
which took up to half the time of some networks (nas_bench_macro, batch 8, AMD EPYC) and depends on what ran before.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from benchmarks.common.hardware import hardware
from benchmarks.common.report import describe, table
from benchmarks.common.script import add_device, add_json, run
from supernet.cost import Conditions, calibrated, latency_table, measured
from supernet.cost.clock import fastest
from supernet.errors import SupernetError
from supernet.space import SPACES, Genotype, Space, get_space

SEED = 0
KEEP = {
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
}  # bytes; glibc reads them at its start


def sample(space: Space, count: int) -> list[Genotype]:
    """Networks that all differ, drawn uniformly."""
    rng = random.Random(SEED)
    networks: dict[str, Genotype] = {}
    for _ in range(100 * count):
        genotype = space.sample(rng)
        networks.setdefault(space.canonical_hash(genotype), genotype)
        if len(networks) == count:
            return list(networks.values())
    raise SupernetError(f"space {space.name!r} has not {count} different networks; lower --networks")


def spearman(one: list[float], other: list[float]) -> float:
    """The correlation of the ranks; times never agree to the last bit, so there are no ties."""
    ranks = [np.argsort(np.argsort(values)) for values in (one, other)]
    return float(np.corrcoef(*ranks)[0, 1])


def errors(predicted: list[float], true: list[float]) -> list[float]:
    return [abs(p - f) / f for p, f in zip(predicted, true, strict=True)]


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """One space: its parts, its networks, and how well the former tell the latter."""
    space = get_space(name)
    where = Conditions(batch=options.batch, threads=options.threads, device=options.device)
    genotypes = sample(space, options.networks + options.calibration)
    settings: dict[str, Any] = {
        "image": (3, options.size, options.size),
        "where": where,
        "timer": partial(fastest, rounds=options.rounds, device=options.device),
        "channels": options.channels,
    }
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:  # what is kept from another day is no part of the measurement
        parts = latency_table(space, folder=folder, **settings)
    between = time.perf_counter()
    seconds = measured(space, genotypes, **settings)
    ended = time.perf_counter()
    cut = options.calibration
    fitted = calibrated(parts, genotypes[:cut], seconds[:cut])
    tested, true = genotypes[cut:], seconds[cut:]
    sums, predicted = ([one.of(genotype) for genotype in tested] for one in (parts, fitted))
    wrong = errors(predicted, true)
    return {
        "name": name,
        "space": space.name,
        "spearman": spearman(predicted, true),
        "mean_error": float(np.mean(wrong)),
        "largest_error": max(wrong),
        "mean_error_uncalibrated": float(np.mean(errors(sums, true))),
        "measured": true,
        "predicted": predicted,
        "sums": sums,
        "genotypes": [genotype.hash for genotype in tested],
        "seconds_of_parts": between - begun,
        "seconds_of_networks": ended - between,
    }


def measure_all(options: argparse.Namespace) -> dict[str, Any]:
    """The result as plain values; raises SupernetError where a space has too few networks."""
    results = [measure(name, options) for name in options.spaces]
    names = ("networks", "calibration", "channels", "batch", "size", "threads", "rounds", "device")
    settings = {name: getattr(options, name) for name in names} | {"seed": SEED}
    return {"benchmark": "latency", "settings": settings, "hardware": hardware(options.device), "results": results}


def show(result: dict[str, Any]) -> str:
    """The result for people."""
    header = ["space", "Spearman", "mean error", "largest", "uncalibrated", "fastest ms", "slowest ms", "minutes"]
    rows = [
        [
            r["space"],
            f"{r['spearman']:.3f}",
            *(f"{100 * r[key]:.1f} %" for key in ("mean_error", "largest_error", "mean_error_uncalibrated")),
            *(f"{1000 * value:.1f}" for value in (min(r["measured"]), max(r["measured"]))),
            f"{(r['seconds_of_parts'] + r['seconds_of_networks']) / 60:.1f}",
        ]
        for r in result["results"]
    ]
    s = result["settings"]
    what = (
        f"latency predicted against measured: {s['networks']} networks a space, {s['calibration']} others calibrate; "
        f"C={s['channels']}, batch {s['batch']}, {s['size']}x{s['size']}, {s['threads']} threads, {s['rounds']} rounds"
    )
    return "\n".join([what, describe(result["hardware"]), "", table(header, rows)])


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compares latency predicted from parts with measured latency.")
    defaults = {"networks": 30, "calibration": 8, "channels": 16, "batch": 8, "size": 32, "threads": 1, "rounds": 20}
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N", help=f"default {default}")
    parser.add_argument(
        "--spaces", nargs="+", default=["nasbench201", "nas_bench_macro"], metavar="NAME", help=", ".join(SPACES)
    )
    add_device(parser)
    add_json(parser)
    options = parser.parse_args(arguments)
    if min(options.networks, options.calibration) < 2:
        parser.error("--networks and --calibration must be 2 or more")
    return options


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    return run(partial(measure_all, options), show, options)


if __name__ == "__main__":
    if not KEEP.keys() <= os.environ.keys():
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | KEEP)
    sys.exit(main())
