"""The page of a run: its numbers are those of the files, every text is text, and nothing of it loads anything."""

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import supernet
from supernet.cost import flops, parameters
from supernet.errors import SupernetError
from supernet.report.page import render, write_page
from supernet.runs.log import read_metrics
from supernet.runs.reading import read_run
from supernet.space import Genotype, published
from supernet.space.lookup import find_space
from supernet.stages.report.write import report
from tests.report.page.written import HOSTILE, hostile_run, retrained, searched

ALLOWED = set(re.findall(r"\w+", """html head meta link title style body header main section h1 h2 h3 p span dl div dt
    dd b code a table thead tbody tr th td details summary figure figcaption svg g path text tspan use defs clippath
    rect line polyline circle label output input data pre ul li script br"""))  # fmt: skip
VOID = {"meta", "link", "input", "br"}


class Page(HTMLParser):
    """What a browser would see: tags with their attributes, and the text outside of styles and scripts."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.raw: list[str] = []  # scripts, styles
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def handle_data(self, data: str) -> None:
        (self.raw if self.open and self.open[-1] in ("script", "style") else self.text).append(data)

    def attributes(self, name: str) -> list[str]:
        return [attrs[name] or "" for _, attrs in self.tags if name in attrs]


def check_harmless(text: str) -> Page:
    """No tag, attribute or address that does anything but show."""
    page = Page(text)
    assert page.open == [], "every tag is closed"
    assert {tag for tag, _ in page.tags} <= ALLOWED
    names = {name for _, attrs in page.tags for name in attrs}
    assert not [name for name in names if name.startswith("on") or name in ("src", "style", "action", "srcset")]
    assert all(href.startswith(("./", "#", "data:,")) or href == "/" for href in page.attributes("href"))
    assert not re.findall(r"https?:|url\((?!#)|@import|fetch\(|XMLHttp", "".join(page.raw[:2]))
    policy = next(content for content in page.attributes("content") if "default-src" in content)
    assert policy.startswith("default-src 'none'; style-src 'sha256-") and "unsafe" not in policy
    return page


def test_numbers_equal_the_files(tmp_path: Path) -> None:
    folder = searched(tmp_path / "run", epochs=7)
    page = check_harmless(write_page(folder).read_text(encoding="utf-8"))
    rows = [row for row in read_metrics(folder / "metrics.jsonl") if "val/top1" in row]
    names = [name for name in rows[0] if name not in ("stage", "step", "epoch", "time")]
    assert [json.loads(value) for tag, a in page.tags if tag == "data" and (value := a["value"])] == [
        row[name] for row in rows for name in sorted(names, key=[*_heads(page)].index)
    ]
    text = "".join(page.text)
    assert f"{rows[-1]['val/top1']:.4f}" in text
    assert "1,234,567" in text and "1,000,000,000" in text and "1m23s" in text
    assert f"{7 * 250 / 3.6e6:.4g} kWh (1,750 J" in text
    # The weights: those that stand in the table are the last epoch's, those of the slider are all.
    states = read_metrics(folder / "architectures.jsonl")
    cells = [attrs["class"] for tag, attrs in page.tags if tag == "td" and (attrs.get("class") or "").startswith("w ")]
    assert len(cells) == 2 * 14 * 8
    alphas = json.loads(next(raw for raw in page.raw if raw.startswith('{"epochs"')))
    assert alphas["epochs"] == list(range(1, 8))
    for table, name in zip(alphas["tables"], ("normal", "reduce"), strict=True):
        for moment, state in zip(table["values"], states, strict=True):
            for row, kept in zip(moment, state["strengths"][name], strict=True):
                assert all(math.isclose(a, b, abs_tol=6e-4) for a, b in zip(row, kept, strict=True))
    assert page.text.count("sep_conv_3x3") >= 2  # the names of the columns


def _heads(page: Page) -> list[str]:
    """The columns of the table of epochs, in their order."""
    text = [part.strip() for part in page.text]
    begin = next(i for i, part in enumerate(text) if part.endswith("as metrics.jsonl has them"))
    return [part for part in text[begin + 1 :] if part and part != "epoch"]


def test_a_long_search_stays_under_a_megabyte(tmp_path: Path) -> None:
    folder = searched(tmp_path / "run", epochs=50)
    assert write_page(folder).stat().st_size < 500_000
    many = searched(tmp_path / "many", epochs=301)
    text = render(read_run(many))
    assert len(text) < 1_000_000 and "120 of 301 epochs" in text
    assert '"epochs": [1, 6,' in text and ", 301]" in text  # first and last are kept


def test_hostile_texts_are_texts(tmp_path: Path) -> None:
    folder = hostile_run(tmp_path)
    for live in (False, True):
        page = check_harmless(render(read_run(folder), live=live))
        text, shown = "\n".join(page.text), "".join(page.text)
        assert [t for t in HOSTILE if text.count(t) < 4 and shown.count(t) < 4] == []
        assert len(page.raw) == 3 and sum(tag == "script" for tag, _ in page.tags) == 2
    assert json.loads(page.raw[1])["epochs"] == [1, 2]


def test_it_is_readable_without_scripts_and_by_ear(tmp_path: Path) -> None:
    page = Page(write_page(searched(tmp_path / "run")).read_text(encoding="utf-8"))
    slider = next(attrs for tag, attrs in page.tags if tag == "p" and attrs.get("class") == "slider")
    assert "hidden" in slider  # a script shows it
    assert any("After epoch 5" in text for text in page.text)
    pictures = [attrs for tag, attrs in page.tags if tag == "svg"]
    assert len(pictures) == 2 + 5 and all(a["role"] == "img" and a["aria-label"] for a in pictures)
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    assert ("meta", {"name": "color-scheme", "content": "light dark"}) in page.tags


DAMAGE = {
    "result.json": ["{", "[]", '{"metrics": 3}', '{"metrics": {}, "seconds": "x", "genotype": "y"}', "9" * 5000],
    "metrics.jsonl": ["{\n", '{"epoch/x": 1}\n', '{"epoch": "x", "epoch/a": [1]}\n', "\0\xff\n",
                      '{"epoch/\\ud800": 1, "a\\ud800\\u0000": 2}\n', '["epoch/"]\n'],
    "architectures.jsonl": ["{\n", '{"epoch": 1, "alphas": {"normal": [[], [1]]}}\n', '{"alphas": 3}\n', "[1]\n",
                            '{"epoch": 0, "strengths": {"normal": [["NaN", null]]}, "margins": [1, [1, 2, 3, "x"]]}\n'],
    "genotype.json": ["{", '{"schema": 99}'],
    "version.json": ["[", '{"devices": 3}'],
    "data.json": ['{"classes": [[1]], "image": {"a": [1]}}'],
    "cost.json": ['{"parameters": "x", "flops": [1], "of": 3}', '{"parameters": 1e999}'],
}  # fmt: skip


def test_damaged_files_are_left_out_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("supernet.report.page.run_page.inline", lambda *_: None)  # drawings take most of the time
    for name, contents in DAMAGE.items():
        for number, content in enumerate(contents):
            folder = searched(tmp_path / f"{name}-{number}", epochs=2)
            (folder / name).write_text(content)
            page = check_harmless(write_page(folder).read_text(encoding="utf-8"))
            if name in ("result.json", "version.json") and number == 0:
                assert any(f"{name} is damaged" in text for text in page.text)
    for content in ("{", '{"stage": 3}', '{"stage": "search", "identity": 1, "config": {}}'):
        (folder / "config.json").write_text(content)
        with pytest.raises(SupernetError, match="damaged"):
            read_run(folder)


def test_links_lead_nowhere(tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text(json.dumps({"metrics": {"val/top1": 0.123456789}, "seconds": 1.0, "genotype": "x"}))
    folder = searched(tmp_path / "run", epochs=2, result=None)
    (folder / "result.json").symlink_to(secret)
    text = render(read_run(folder))
    assert "0.1235" not in text and "is a link" in text
    (tmp_path / "other").symlink_to(folder)
    with pytest.raises(SupernetError, match="is no run folder"):
        read_run(tmp_path / "other")


def test_what_was_found_stands_beside_its_controls(tmp_path: Path) -> None:
    cells = [published(name) for name in ("DARTS_V1", "DARTS_V2", "PC_DARTS_cifar")]
    folders = [retrained(tmp_path / f"r{i}", cell, 0.5 + i / 10) for i, cell in enumerate(cells)]
    retrained(tmp_path / "longer", cells[0], 0.9, config=None)
    other = json.loads((folders[0] / "config.json").read_text())
    other["identity"]["epochs"] = 9  # another recipe is no control
    (tmp_path / "longer" / "config.json").write_text(json.dumps(other))
    text = " ".join("".join(Page(render(read_run(folders[2]))).text).split())
    assert "+0.0750 to the median of 2 retrained by the same settings" in text  # 0.35 to 0.25 and 0.30
    assert "r2 (this run)" in text and "longer" not in text


def test_a_run_writes_its_page_and_changes_no_number_by_it(tmp_path: Path) -> None:
    def search(name: str, report: bool) -> Path:
        log = {"every": 2, "progress": False, "tensorboard": False, "report": report}
        size = {"channels": 4, "cells_per_stage": 1}
        supernet.search(
            "nasbench201", data={"name": "digits", "limit": 48}, epochs=2, batch_size=8, network=size, log=log,
            run=tmp_path / name,
        )  # fmt: skip
        return tmp_path / name

    with_page, without = search("a", True), search("b", False)
    assert (with_page / "report.html").is_file() and not (without / "report.html").exists()
    for name in ("metrics.jsonl", "architectures.jsonl"):
        assert read_metrics(with_page / name, time=False) == read_metrics(without / name, time=False)
    state = read_metrics(with_page / "architectures.jsonl")[-1]
    for row in state["strengths"]["cell"]:
        assert sum(row) == pytest.approx(1, abs=1e-5)
    genotype = Genotype.load(with_page / "genotype.json")
    cost = json.loads((with_page / "cost.json").read_text())
    size = {"channels": 4, "cells_per_stage": 1, "num_classes": 10}
    space = find_space(with_page, genotype)
    assert cost["parameters"] == parameters(genotype, space=space, in_chans=1, **size)
    assert cost["flops"] == flops(genotype, space=space, image=(1, 8, 8), **size)
    (path,) = report([str(without)])
    page = check_harmless(path.read_text(encoding="utf-8"))
    assert sum(attrs.get("role") == "img" for _, attrs in page.tags) >= 6
    assert any(genotype.hash in text for text in page.text)
