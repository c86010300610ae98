"""The words and numbers of a page that are no plots: headline, settings, decisions, time and device, files, use."""

import math
import os
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...errors import short
from ...runs.names import PAGE
from ...runs.progress import duration
from ...runs.reading import RunRecord, number

__all__ = [
    "about_data", "cost_rows", "decisions", "file_rows", "flat", "headline", "number_text", "setting_rows", "time_rows",
    "use_lines",
]  # fmt: skip

MOST_FILES, MOST_SETTINGS, MOST_DECISIONS = 60, 400, 200
# Settings that stand in view, in this order; a point at the end means all below. The rest is folded away.
FIRST = ("space.", "method.name", "method.relaxation", "method.sampler", "method.hypergradient", "genotype",
         "data.name", "data.root", "data.limit", "network.", "epochs", "batch_size", "weights.lr", "alphas.lr",
         "recipe.opt", "recipe.lr", "executor", "device", "amp", "seed")  # fmt: skip
Rows = Sequence[tuple[str, str]]


def number_text(value: object) -> str:
    """A number in four digits, whole ones in full; any other value as text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if value is None else str(value)
    if isinstance(value, int):
        return f"{value:,}" if value.bit_length() < 128 else "a number of over 128 bits"
    if not math.isfinite(value):
        return str(value)
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1e4 else f"{value:.4g}"


def flat(settings: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Settings by their dotted names, as texts."""
    found: dict[str, str] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{key}.")
        elif value not in ({}, []):
            found[f"{prefix}{key}"] = short("null" if value is None else str(value), 200)
    return found


def setting_rows(run: RunRecord) -> tuple[Rows, Rows]:
    """(what was searched or trained with what, every setting)."""
    everything = flat(run.config)
    first = [
        (name, text)
        for wanted in FIRST
        for name, text in everything.items()
        if (name == wanted or (wanted.endswith(".") and name.startswith(wanted))) and text != "null"
    ]
    if (label := run.identity.get("label")) and run.stage == "search":
        first.insert(0, ("space", short(str(label), 80)))
    return first[:40], list(everything.items())[:MOST_SETTINGS]


def about_data(run: RunRecord) -> Rows:
    """What data.json says of the data."""
    rows = []
    for name, value in run.data.items():
        if isinstance(value, Mapping):
            shown = [f"{short(str(k), 40)} {number_text(v)}" for k, v in list(value.items())[:12]]
            text = ", ".join(shown) + (f" ... ({len(value)} in all)" if len(value) > 12 else "")
        elif isinstance(value, list):
            text = " x ".join(short(str(item), 20) for item in value[:6])
        else:
            text = short(str(value), 120)
        if text:
            rows.append((str(name), text))
    return rows[:20]


def headline(run: RunRecord) -> Rows:
    """The few numbers that stand on top."""
    result = run.result or {}
    selects = str(result.get("selects", "top1"))
    found = []
    for part, word in (("test/", "test"), ("val/", "validation")):
        if (value := number(run.metrics.get(part + selects))) is not None:
            found.append((f"{word} {selects}", number_text(value)))
    best = result.get("best")
    if isinstance(best, Mapping) and (value := number(best.get(f"val/{selects}"))) is not None:
        found.append((f"best validation {selects}", number_text(value)))
    if (entropy := number(run.metrics.get("alpha/mean_entropy"))) is not None:
        found.append(("mean entropy (nats)", number_text(entropy)))
    planned = f" of {run.planned}" if run.planned and not run.finished else ""
    found.append(("epochs", f"{run.ended}{planned}"))
    seconds = number(result.get("seconds"))
    found += [("time", duration(seconds))] if seconds is not None else []
    return found


def decisions(run: RunRecord) -> list[tuple[str, str, str, str, float]]:
    """(table, row, first, second, lead) of each decision, the closest first."""
    stored = run.result.get("margins") if run.result is not None else None
    if stored is None and run.states:
        stored = run.states[-1].get("margins")
    rows = []
    for row in stored if isinstance(stored, list) else ():
        if isinstance(row, list) and len(row) == 5 and (lead := number(row[4])) is not None:
            rows.append((str(row[0]), str(row[1]), str(row[2]), str(row[3]), lead))
    return sorted(rows, key=lambda row: row[4])[:MOST_DECISIONS]


def cost_rows(run: RunRecord) -> Rows:
    """Parameters and FLOPs, where they are known."""
    rows = []
    count = run.cost.get("parameters", (run.result or {}).get("parameters"))
    if number(count) is not None:
        rows.append(("parameters", number_text(count)))
    if number(run.cost.get("flops")) is not None:
        rows.append(("FLOPs of one input", f"{number_text(run.cost['flops'])}  (two for a multiply-add)"))
    if isinstance(run.cost.get("of"), str):
        rows.append(("of", short(run.cost["of"], 200)))
    return rows


def time_rows(run: RunRecord) -> Rows:
    """Seconds, speed, energy, the device and the versions."""
    rows = []
    if (seconds := number((run.result or {}).get("seconds"))) is not None:
        rows.append(("time", f"{duration(seconds)} ({seconds:,.1f} s)"))
    clocks = [row["time"] for row in run.epochs if isinstance(row.get("time"), Mapping)]
    if clocks and (rate := number(clocks[-1].get("images_per_second"))) is not None:
        rows.append(("samples a second", f"{rate:,.1f} in the last epoch"))
    spent = [number(clock.get("joules")) for clock in clocks]
    if spent and None not in spent and run.ended == len(run.epochs):
        joules = sum(value or 0.0 for value in spent)
        rows.append(("energy", f"{joules / 3.6e6:.4g} kWh ({joules:,.0f} J, as the device counts)"))
    devices, versions = run.versions.get("devices"), run.versions
    names = [short(str(name), 60) for name in devices[:8]] if isinstance(devices, list) else []
    rows.append(("GPUs of the machine", ", ".join(names) or "none"))
    for name, key in (("processor", "processor"), ("cores", "cores"), ("threads", "threads"), ("system", "platform")):
        if versions.get(key) is not None:
            rows.append((name, short(str(versions[key]), 80)))
    packages = [
        f"{n} {short(str(versions[n]), 30)}" for n in ("supernet", "torch", "timm", "python") if versions.get(n)
    ]
    rows += [("versions", ", ".join(packages))] if packages else []
    rows.append(("last written", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(max(0.0, min(run.changed, 4e9))))))
    return rows


def file_rows(run: RunRecord) -> list[tuple[str, int | None]]:
    """(name, bytes) of what lies in the folder; None for a folder. The page itself and hidden files are left out."""
    rows: list[tuple[str, int | None]] = []
    for entry in sorted(os.scandir(run.path), key=lambda entry: entry.name):
        if entry.name.startswith(".") or entry.name == PAGE or entry.is_symlink():
            continue
        folder = entry.is_dir(follow_symlinks=False)
        rows.append(
            (printable(entry.name) + "/" * folder, None if folder else entry.stat(follow_symlinks=False).st_size)
        )
    return rows[:MOST_FILES]


def use_lines(run: RunRecord) -> tuple[str, Sequence[str]]:
    """(what they are for, three lines that use what was found); () while the run is at work."""
    place = Path(printable(str(run.path)))
    if run.result is None:
        return "", ()
    if run.stage == "search":
        lines = ["import supernet", f"trained = supernet.retrain({str(place)!r})"]
        return "Retrain what was found, and make a timm model of it", [
            *lines,
            'supernet.export_model(trained, "my-model")',
        ]
    command = f"supernet export run={shlex.quote(str(place))} to=my-model"
    opened = 'model = timm.create_model("local-dir:my-model", pretrained=True)'
    return "Export the network and open it with timm", [command, "import timm, supernet.timm_models", opened]


def printable(name: str) -> str:
    """A file's name as text that can be encoded: bytes that are no UTF-8 become ?."""
    return name.encode(errors="surrogateescape").decode(errors="replace")
