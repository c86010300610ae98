"""The list of runs as a page: what, data, state, epochs, the metric that selects, when."""

import time
from collections.abc import Mapping, Sequence

from ...errors import short
from ...runs.reading import RunRecord, number
from .facts import number_text
from .policy import encodable, environment, part, policy, trusted

__all__ = ["list_policy", "render_list"]

MOST = 500  # runs that are shown, the newest ones


def render_list(runs: Sequence[tuple[str, RunRecord]], unread: int = 0) -> str:
    """The page of (address, record), in this order; `unread` counts folders that could not be read."""
    rows = [{"address": address, **_row(run)} for address, run in runs[:MOST]]
    style = part("page.css")
    page = environment().get_template("list.html")
    text = page.render(rows=rows, total=len(runs), unread=unread, policy=list_policy(), style=trusted(style))
    return encodable(text)


def list_policy() -> str:
    """The Content-Security-Policy of the list."""
    return policy(part("page.css"))


def _row(run: RunRecord) -> Mapping[str, object]:
    selects = str((run.result or {}).get("selects", "top1"))
    names = [f"val/{selects}", *(name for name in run.metrics if str(name).startswith("val/") and name != "val/loss")]
    shown = next((name for name in names if number(run.metrics.get(name)) is not None), None)
    data = run.config.get("data")
    return {
        "name": run.name,
        "stage": run.stage,
        "data": short(str(data.get("name", "")), 40) if isinstance(data, Mapping) else "",
        "state": run.state,
        "epochs": f"{run.ended}{f' of {run.planned}' if run.planned and not run.finished else ''}",
        "metric": ""
        if shown is None
        else f"{number_text(run.metrics[shown])} {short(str(shown).removeprefix('val/'), 24)}",
        "when": time.strftime("%Y-%m-%d %H:%M", time.localtime(max(0.0, min(run.changed, 4e9)))),
    }
