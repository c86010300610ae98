"""The model card of an exported folder: what it is, how to open it, and only numbers that were measured."""

import html
import json
from collections.abc import Mapping, Sequence

from .. import __version__
from ..errors import printable
from ..space import SPACES, CellGraph, CellSpace, Genotype, space_of
from .data_facts import DataFacts

__all__ = ["write_card"]

CLASSIFICATION = "classification"  # the task where nothing is said of one
# What a network of a task is, and the tag by which Hugging Face's hub finds it.
_KINDS = {
    CLASSIFICATION: ("An image classifier", "image-classification"),
    "multi_label": ("A multi-label image classifier", "image-classification"),
    "regression": ("A network for regression from images", "regression"),
    "segmentation": ("A network for semantic segmentation", "image-segmentation"),
}
_READING = {
    "multi_label": "A label is there where the sigmoid of its output is above one half.",
    "segmentation": "The outputs are logits of the size of the image; the largest is the class of a pixel.",
}
_HEAD = """---
library_name: timm
tags:
- {tag}
- timm
- supernet
- neural-architecture-search
---
"""
# timm cannot open a network of one's own class, so nothing sends a reader there.
_HEAD_OWN = _HEAD.replace("library_name: timm", "library_name: supernet").replace("- timm\n", "")

_OPEN_TIMM = """```python
import timm
import supernet.timm_models  # registers the architecture with timm

model = timm.create_model("local-dir:PATH/OF/THIS/FOLDER", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
```

"""
_ADAPTS = """`num_classes=`, `in_chans=`, `features_only=True` and timm's other arguments adapt it for fine-tuning.
Without `pretrained=True` timm draws new weights."""

_KEEPS_HEAD = """The network lacks the functions by which timm changes a network: it keeps its number of classes, and
has no `features_only=True`. `in_chans=` adapts its first convolution. Without `pretrained=True` timm draws new
weights."""

NOT_OF_INPUT = ("class_names", "task", "selects", "target_mean", "target_std")
_FILES = "`model.safetensors` holds the weights, `config.json` {config}, `genotype.json` the architecture."


def write_card(
    genotype: Genotype,
    *,
    title: str,
    parameters: int,
    arguments: Mapping[str, object],
    data: DataFacts,
    metrics: Mapping[str, object] | None = None,
    dropped: Sequence[str] = (),
    macs: int | None = None,
    pictures: Sequence[str] = (),
    own: str = "",
    allow: str = "",
    keeps_head: bool = False,
) -> str:
    """The text of README.md.

    `arguments` are those of the macro structure, `data` the preprocessing, `metrics` numbers by name; `dropped` names
    parts of the trained network that the folder leaves out, `pictures` files beside the card that show its cells,
    `macs` the multiply-adds of one image. `own` tells how a network that timm cannot open is loaded,
    `allow` is the class that timm must be allowed to import, `keeps_head` that timm cannot change its classifier.
    """
    task = data.get("task", CLASSIFICATION)
    kind, tag = _KINDS.get(task, (f"A network for the task `{_line(task)}`", "supernet"))
    opening = own or _open(allow) + (_KEEPS_HEAD if keeps_head else _ADAPTS)
    sections = [
        f"# {_line(title)}",
        f"{kind} with {parameters:,} parameters{_work(macs, data)}. Its architecture is the point "
        f"`{genotype.hash}` of the search space `{_line(genotype.space)}`, written by supernet {__version__}.",
        _task(task, data.get("selects", "top1")),
        _numbers(data) if task == "regression" else "",
        *(f"Left out of this folder, as it serves training alone: {part}." for part in dropped),
        "## How to open it",
        opening,
        _FILES.format(config="its arguments and the preprocessing" if own else "what timm reads"),
        "## Results" if metrics else "",
        _table(metrics) if metrics else "",
        "## Architecture",
        *(f"![{name.removesuffix('.png')}]({name})" for name in pictures),
        *_architecture(genotype),
        _table(arguments) if arguments else "",
        "## Input" if data else "",
        _table({key: value for key, value in data.items() if key not in NOT_OF_INPUT}) if data else "",
        "" if task == "regression" else _classes(data.get("class_names") or ()),
        "## Where the architecture comes from" if genotype.origin else "",
        _table(genotype.origin) if genotype.origin else "",
    ]
    return (_HEAD_OWN if own else _HEAD).format(tag=tag) + "\n" + "\n\n".join(text for text in sections if text) + "\n"


def _open(allow: str) -> str:
    """How timm opens the folder; a class of the author's own must be allowed by name, as importing it runs its code."""
    if not allow:
        return _OPEN_TIMM
    line = f"\nsupernet.allow_networks({allow!r})  # the class of the network, which must be installed"
    return _OPEN_TIMM.replace("  # registers the architecture with timm\n", f"  # registers it with timm\n{line}\n", 1)


def _task(task: str, selects: str) -> str:
    """What the network is for, and by which metric networks of its kind are compared."""
    chosen = f"Task: `{_line(task)}`; networks of it are compared by `{_line(selects)}`."
    return " ".join(filter(None, [chosen, _READING.get(task, "")]))


def _numbers(data: DataFacts) -> str:
    """What the outputs of a regression are, and how they become numbers in the units of the data."""
    means, deviations = data.get("target_mean") or (), data.get("target_std") or ()
    names = data.get("class_names") or [str(k) for k in range(len(means))]
    if not means:
        return f"The outputs are the numbers themselves, in order: {', '.join(map(_line, names))}." if names else ""
    rows = [f"{_line(name)} = output * {d:.6g} + {m:.6g}" for name, m, d in zip(names, means, deviations, strict=True)]
    return f"The outputs are standardised, in order: {'; '.join(rows)}."


def _architecture(genotype: Genotype) -> list[str]:
    """The cells, or the decisions of a space without cells."""
    space = space_of(genotype) if genotype.space in SPACES else None
    if isinstance(space, CellSpace):
        return [f"{kind} cell:\n\n{_cell(graph)}" for kind, graph in space.graphs(genotype).items()]
    return [_table(genotype.decisions)]


def _cell(graph: CellGraph) -> str:
    """One line a node, the states numbered inputs first."""
    names = [f"input {i}" for i in range(graph.inputs)]
    names += [f"node {graph.inputs + i}" for i in range(len(graph.nodes))]
    lines = []
    for i, terms in enumerate(graph.nodes):
        summed = [f"{term.op}({names[term.source]})" for term in terms if term.op != "none"]
        lines.append(f"    {names[graph.inputs + i]} = {' + '.join(summed) or '0'}")
    return "\n".join([*lines, f"    output = {', '.join(names[i] for i in graph.concat)}"])


def _work(macs: int | None, data: DataFacts) -> str:
    size = "x".join(map(str, data.get("input_size", ())))
    return "" if macs is None else f" and {macs:,} multiply-adds for an image of {size}"


def _classes(names: Sequence[str], most: int = 100) -> str:
    if not names:
        return ""
    more = f", ... ({len(names)} in all; `config.json` has them)" if len(names) > most else ""
    return f"Classes: {', '.join(_line(name) for name in names[:most])}{more}"


def _table(rows: Mapping[str, object]) -> str:
    """A table of two columns."""
    return "\n".join(["| | |", "|---|---|", *(f"| {_line(key)} | {_line(value)} |" for key, value in rows.items())])


def _line(value: object) -> str:
    """One line of text; values other than texts as JSON writes them."""
    text = value if isinstance(value, str) else f"{value:.6g}" if isinstance(value, float) else _json(value)
    text = html.escape(printable(" ".join(text.split())), quote=False)  # a card is shown as HTML, and names are text
    for mark in "|`[]":
        text = text.replace(mark, f"\\{mark}")
    return text


def _json(value: object) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)
