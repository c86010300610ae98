"""The page in headless Chromium: a silent console, no request, nothing wider than the screen, a slider that works.

One Chromium opens all pages at both widths in frames. A probe that is put into copies of the pages tells what it sees;
the policy of a copy allows the probe, by its digest, and nothing else that the page's own does not.
"""

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from supernet.report.page import render, render_list
from supernet.runs.log import read_metrics
from supernet.runs.reading import read_run
from supernet.space import published
from tests.report.page.written import HOSTILE, hostile_run, retrained, searched

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WIDTHS = (360, 1280)
PROBE = """
addEventListener("load", () => {
  const root = document.documentElement, slider = document.getElementById("moment");
  const seen = {
    width: innerWidth, needed: root.scrollWidth, hit: "hit" in root.dataset, text: document.body.textContent,
    loaded: performance.getEntriesByType("resource").length,
    numbers: [...document.querySelectorAll("data")].map((d) => d.value),
    painted: getComputedStyle(document.body).maxWidth,
    foreign: document.querySelectorAll("iframe,img,base,object").length,
    legible: [...document.querySelectorAll(".cells svg")].every((svg) => svg.getBoundingClientRect().height > 60),
  };
  if (slider) {
    seen.last = [...document.querySelectorAll("td.w")].map((cell) => cell.textContent);
    slider.value = 0;
    slider.dispatchEvent(new Event("input"));
    seen.first = [...document.querySelectorAll("td.w")].map((cell) => cell.textContent);
    seen.shown = [document.getElementById("shown").textContent, document.querySelector(".slider").hidden];
  }
  parent.postMessage([NAME, seen], "*");
});
"""
LISTENER = """<!doctype html><pre id=out></pre><script>
const seen = [];
addEventListener("message", ({ data }) => {
  seen.push(data);
  document.getElementById("out").textContent = JSON.stringify(seen);
});
</script>FRAMES"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


def probed(page: str, name: str) -> str:
    """The page with the probe in it."""
    script = PROBE.replace("NAME", json.dumps(name))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.search(r'content="(default-src[^"]*)"', page)
    assert policy is not None
    own, allowed = policy[1], f"script-src &#39;sha256-{digest}&#39;"
    new = own.replace("script-src", allowed) if "script-src" in own else f"{own}; {allowed}"
    page = page.replace(own, new, 1)
    return page.replace("</body>", f"<script>{script}</script></body>")


def opened(folder: Path, pages: dict[str, str]) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """({"page-width": what the probe saw}, what Chromium has written into its log about the console)"""
    frames = []
    for name, page in pages.items():
        for width in WIDTHS:
            (folder / f"{name}-{width}.html").write_text(probed(page, f"{name}-{width}"), encoding="utf-8")
            frames.append(f'<iframe src="{name}-{width}.html" width={width} height=700 style="border:0"></iframe>')
    (folder / "all.html").write_text(LISTENER.replace("FRAMES", "".join(frames)), encoding="utf-8")
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
               "--no-first-run", "--disable-extensions", "--disable-background-networking",
               "--virtual-time-budget=4000", "--dump-dom", f"--user-data-dir={folder / 'profile'}",
               f"file://{folder / 'all.html'}"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=100, check=False)
    out = re.search(r'<pre id="out">(.*?)</pre>', done.stdout, re.S)
    assert done.returncode == 0 and out is not None, done.stderr[-2000:]
    return dict(json.loads(html.unescape(out[1]))), [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def test_pages_in_a_browser(tmp_path: Path) -> None:
    search = searched(tmp_path / "run", epochs=4)
    found = retrained(tmp_path / "found", published("DARTS_V2"), 0.7)
    retrained(tmp_path / "random-1", published("DARTS_V1"), 0.6)
    hostile = hostile_run(tmp_path / "hostile")
    pages = {path.name[:6].strip('" '): render(read_run(path)) for path in (search, found, hostile)}
    names = list(pages)
    pages["list"] = render_list([("0" * 16, read_run(path)) for path in (search, found, hostile)])
    pages["bad"] = pages[names[0]].replace("<h1>", "<h1 style='color:red' onclick='x()'>")  # what the console tells of
    seen, console = opened(tmp_path, pages)
    assert seen.keys() == {f"{name}-{width}" for name in pages for width in WIDTHS}
    assert console and all("bad-" in line for line in console), console[:3]
    for key, page in seen.items():
        width = int(key.rpartition("-")[2])
        assert page["width"] == width and page["needed"] <= width, f"{key} is {page['needed']} pixels wide"
        assert not page["hit"] and page["loaded"] == 0 and page["foreign"] == 0, key
        assert page["painted"] == "1216px" and page["legible"], key  # the style sheet counts
    one = seen[f"{names[0]}-360"]
    rows = [row for row in read_metrics(search / "metrics.jsonl") if "val/top1" in row]
    kept = {value for row in rows for name, value in row.items() if name not in ("epoch", "step") and name != "time"}
    assert {json.loads(number) for number in one["numbers"]} == {v for v in kept if isinstance(v, float)}
    states = read_metrics(search / "architectures.jsonl")
    for moment, state in ((one["last"], states[-1]), (one["first"], states[0])):
        weights = [p for table in ("normal", "reduce") for row in state["strengths"][table] for p in row]
        assert max(abs(float(a) - b) for a, b in zip(moment, weights, strict=True)) < 0.0056
    assert one["shown"] == ["1", False]
    text = seen[f"{names[2]}-1280"]["text"]
    assert [t for t in HOSTILE if t not in text] == []
