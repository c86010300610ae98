"""Run folders as a search and a retraining leave them, written by hand: pages of them need no training."""

import json
import math
import os
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from supernet.space import Genotype, get_space

__all__ = ["HOSTILE", "hostile_run", "retrained", "searched", "tables", "texts"]

# Each would do harm, or break the page, if it were taken as anything but text. A hit marks the document.
HIT = "document.documentElement.dataset.hit=1"
HOSTILE = (
    f"<script>{HIT}</script>", f"</script><script>{HIT}</script>", f"<img src=x onerror={HIT}>", f"<svg onload={HIT}>",
    f'" onmouseover="{HIT}', f"' autofocus onfocus='{HIT}", f"javascript:{HIT}", "</style><style>*{display:none}",
    "</title><h1>other", "<!-- ", "]]>", "{{ 7*7 }}{% raw %}", "${7*7}", "&lt;b&gt;&amp;&#x27;", "\u202egnp.exe",
    "$\\frac{a$", '<base href="http://a.example/">', '<link rel=stylesheet href="http://a.example/x.css">',
    "<iframe src=http://a.example></iframe>", '<meta http-equiv=refresh content="0;url=http://a.example">',
)  # fmt: skip
SEED = 3
NETWORK = {"network": {"channels": 4, "layers": 3}}


def searched(folder: Path, epochs: int = 5, **more: Any) -> Path:
    """A finished search of the DARTS space; `more` replaces files, {name without .json: content}."""
    rng, space = random.Random(SEED), get_space("darts")
    rows, states = [], []
    for epoch in range(epochs):
        values = {f"{part}{name}": rng.random() for part in ("epoch/train/", "val/") for name in ("loss", "top1")}
        values |= {"alpha/mean_entropy": rng.random(), "genotype/skip_share": rng.random(), "lr": 0.1 / (epoch + 1)}
        clock = {"unix": 1.7e9 + epoch, "elapsed": epoch, "images_per_second": 100.5, "joules": 250.0}
        head = {"stage": "search", "step": epoch * 10 + 10, "epoch": epoch}
        rows += [{**head, "train/loss": 9.9}, {**head, **values, "time": clock}]
        genotype, alphas = space.sample(rng), tables(rng)
        record = {"genotype": json.loads(genotype.to_json()), "margins": _margins(rng), "alphas": alphas}
        states.append({**head, **record, "strengths": {name: [_softmax(r) for r in t] for name, t in alphas.items()}})
    last = {k: v for k, v in rows[-1].items() if k not in ("stage", "step", "time")}
    about = {"genotype": genotype.hash, "metrics": last, "best": last, "selects": "top1", "seconds": 83.2}
    files = {
        "config": _config(
            "search", {"space": {"name": "darts", "args": {}}, "epochs": epochs, "method": {"name": "d"}, **NETWORK}
        ),
        "result": {**about, "margins": states[-1]["margins"], "note": ["the alphas have decided little"]},
        "data": {"name": "digits", "classes": {"one": 10, "two": 12}, "image": [1, 8, 8], "test": "closed"},
        "version": {"supernet": "0", "torch": "2", "processor": "a processor", "cores": 2, "devices": ["a GPU"]},
        "cost": {"parameters": 1234567, "flops": 10**9, "of": "the network"},
    }
    _write(folder, {**files, **more}, rows, states)
    genotype.with_origin(method="darts", seed=0).save(folder / "genotype.json")
    return folder


def retrained(folder: Path, genotype: Genotype, top1: float, **more: Any) -> Path:
    """A finished retraining of two epochs."""
    rows = [
        {"stage": "retrain", "step": e, "epoch": e, "epoch/train/loss": 1.5, "val/top1": top1, "lr": 0.1, "time": {}}
        for e in range(2)
    ]
    config = _config("retrain", {"genotype": "runs/a", "epochs": 2}, label=genotype.hash)
    result = {"genotype": genotype.hash, "metrics": {"val/top1": top1, "test/top1": top1 / 2}, "seconds": 3.0}
    result |= {"parameters": 1000, "selects": "top1", "arguments": {"channels": 4, "layers": 3}, "data": {}}
    _write(folder, {"config": config, "result": result, **more}, rows, [])
    genotype.save(folder / "genotype.json")
    return folder


def hostile_run(root: Path) -> Path:
    """A search with each of HOSTILE in every place that takes a text."""
    folder = searched(root / HOSTILE[4].replace("/", "|"), epochs=2)
    config = json.loads((folder / "config.json").read_text())
    config["config"] |= {text: text for text in HOSTILE} | {"device": HOSTILE[0], "data": {"name": HOSTILE[2]}}
    config["identity"]["label"] = HOSTILE[1]
    names = dict.fromkeys(HOSTILE, 1.5) | {f"val/{text}": 0.5 for text in HOSTILE}
    rows = [{"stage": HOSTILE[0], "epoch": e, "epoch/train/loss": 1.0, **names, "x": HOSTILE[3]} for e in range(2)]
    result = {"genotype": HOSTILE[5], "metrics": rows[-1], "seconds": 1.0, "note": list(HOSTILE), "selects": HOSTILE[2]}
    margins = [[text, text, text, text, 0.5] for text in HOSTILE]
    weights = {text: [[0.5, 0.25]] for text in HOSTILE}
    states = [{"epoch": e, "alphas": weights, "strengths": weights, "margins": margins} for e in range(2)]
    files: dict[str, Any] = {"config": config, "result": result | {"margins": margins}}
    files["data"] = {"name": HOSTILE[0], "classes": dict.fromkeys(HOSTILE, 3), HOSTILE[2]: HOSTILE[3]}
    files["version"] = {"devices": list(HOSTILE), "processor": HOSTILE[0], "torch": HOSTILE[1]}
    files["cost"] = {"parameters": 1, "flops": 2, "of": HOSTILE[0]}
    _write(folder, files, rows, states)
    for text in HOSTILE:
        (folder / text.replace("/", "|")).write_text("")
    return folder


def tables(rng: random.Random) -> dict[str, list[list[float]]]:
    """Alphas of the two kinds of cells."""
    return {kind: [[rng.gauss(0, 1) for _ in range(8)] for _ in range(14)] for kind in ("normal", "reduce")}


def texts(rows: Iterable[Sequence[str]]) -> set[str]:
    """All texts of some rows."""
    return {text for row in rows for text in row}


def _softmax(row: Sequence[float]) -> list[float]:
    total = sum(math.exp(value) for value in row)
    return [round(math.exp(value) / total, 6) for value in row]


def _margins(rng: random.Random) -> list[list[object]]:
    return [["normal", f"edge {i}", "sep_conv_3x3", "none", rng.random()] for i in range(4)]


def _config(stage: str, settings: dict[str, object], **identity: object) -> dict[str, object]:
    own = {"stage": stage, "seed": 0, **identity}
    return {"schema": 1, "stage": stage, "hash": "0" * 8, "identity": own, "config": {"seed": 0, **settings}}


def _write(folder: Path, records: dict[str, Any], rows: list[Any], states: list[Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in records.items():
        if content is not None:
            (folder / f"{name}.json").write_text(json.dumps(content))
    for name, lines in (("metrics", rows), ("architectures", states)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + os.linesep for line in lines))
