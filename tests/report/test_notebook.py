"""What a notebook shows of a result: cells and epochs, and text that stays text."""

import numpy as np

import supernet
from supernet.report.notebook import result_html
from supernet.space import published


def test_a_search_shows_its_cells_and_its_epochs() -> None:
    rng = np.random.default_rng(0)
    data = rng.integers(0, 255, (24, 1, 8, 8), dtype=np.uint8), np.arange(24) % 4
    quiet = {"log": {"progress": False, "tensorboard": False}}
    small = {"channels": 2, "cells_per_stage": 1}
    searched = supernet.search("nasbench201", data, epochs=2, batch_size=6, network=small, **quiet)
    page = searched._repr_html_()
    assert page.count("<svg") == 1
    assert page.count("<tr>") == 2 + 7 + 3, "the result, a head with six decisions, and one with two epochs"
    strengths = searched.net.strengths()["cell"]
    for name, row in zip(searched.net.space.tables[0].rows, strengths, strict=True):
        second, first = sorted(row)[-2:]
        assert f"<td>cell {name}</td>" in page and f"<td>{first - second:.4f}</td>" in page
    assert f"{searched.metrics['val/loss']:.4f}" in page
    assert searched.genotype.hash in repr(searched)
    assert len(repr(searched)) < 400
    assert "\n" not in repr(searched)


def test_a_retraining_shows_its_cells_and_its_epochs() -> None:
    rng = np.random.default_rng(0)
    data = rng.integers(0, 255, (24, 1, 8, 8), dtype=np.uint8), np.arange(24) % 4
    quiet = {"log": {"progress": False, "tensorboard": False}}
    trained = supernet.retrain(
        "DARTS_V2", data, test=data, epochs=2, batch_size=6, network={"channels": 2, "layers": 3}, **quiet
    )
    page = trained._repr_html_()
    assert page.count("<svg") == 2, "the normal and the reduction cell"
    assert page.count("<tr>") == 2 + 3
    assert f"{trained.metrics['test/top1']:.4f}" in page
    text = repr(trained)
    assert text.startswith("Retrained(") and trained.genotype.hash in text and "\n" not in text and len(text) < 400


def test_names_are_text() -> None:
    page = result_html("<script>", None, published("DARTS_V2"), {"val/<b>": 1.0}, [{"epoch": 0, "val/x": "<i>&"}])
    assert "<script>" not in page
    assert "&lt;i&gt;&amp;" in page
    assert "val/&lt;b&gt;" in page
