"""What a notebook shows of a search or a retraining: the cells, and a line for each epoch."""

import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..network.margins import Margin
from ..runs.log import read_metrics
from ..space import Genotype, Space
from .drawings import draw_space

__all__ = ["epochs_of", "result_html", "result_text"]

MOST_ROWS = 200  # epochs of a table; the first ones are left out beyond
SHOWN = ("epoch/train/", "val/", "test/", "genotype/skip_share", "alpha/mean_entropy")

Rows = Sequence[Mapping[str, object]]


def epochs_of(folder: Path | None, history: Rows) -> Rows:
    """The rows of the ended epochs: those in a run folder, else those of this process."""
    path = None if folder is None else folder / "metrics.jsonl"
    if path is None or not path.is_file():
        return history
    return [row for row in read_metrics(path, time=False) if any(name.startswith("epoch/") for name in row)]


def result_html(
    title: str,
    space: Space | None,
    genotype: Genotype,
    metrics: Mapping[str, object],
    rows: Rows,
    decisions: Sequence[Margin] = (),
) -> str:
    """HTML with the drawings as SVG, the final metrics, and a table of the epochs; no script, no address.

    `decisions` of a search are a table of their own, each with its margin.
    """
    drawings = draw_space(space, genotype) if space is not None else {}
    pictures = []
    for figure in drawings.values():
        text = io.StringIO()
        figure.savefig(text, format="svg")
        pictures.append(text.getvalue()[text.getvalue().index("<svg") :])
    final = _table([{"": title, **_shown(metrics)}])
    epochs = [_numbered(row) for row in rows[-MOST_ROWS:]]
    return "\n".join([final, *pictures, _table([_decision(margin) for margin in decisions]), _table(epochs)])


def result_text(kind: str, genotype: Genotype, metrics: Mapping[str, object], done: bool, folder: Path | None) -> str:
    """One line for a prompt: what it is, its genotype, the metrics that are compared, and where it lives."""
    values = [f"{name}={value:.4f}" for name, value in _shown(metrics).items() if isinstance(value, float)]
    state = [] if done else ["not done"]
    place = [] if folder is None else [str(folder)]
    return f"{kind}({', '.join([f'genotype {genotype.hash} of {genotype.space}', *values, *state, *place])})"


def _shown(metrics: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in metrics.items() if name.startswith(SHOWN)}


def _decision(margin: Margin) -> dict[str, object]:
    strongest, next_one = f"{margin.first} {margin.p_first:.4f}", f"{margin.second} {margin.p_second:.4f}"
    return {"decision": f"{margin.table} {margin.row}", "first": strongest, "second": next_one, "margin": margin.lead}


def _numbered(row: Mapping[str, object]) -> dict[str, object]:
    epoch = row.get("epoch")
    return {"epoch": epoch + 1 if isinstance(epoch, int) else epoch, **_shown(row)}


def _table(rows: Rows) -> str:
    """Rows with the same columns; every text is escaped."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = "".join(f"<tr>{''.join(f'<td>{_cell(row.get(name))}</td>' for name in names)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>" if rows else ""


def _cell(value: object) -> str:
    text = "" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
    return html.escape(text)
