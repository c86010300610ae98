"""Writes README's table of methods from the presets in conf/method: `make pages`.

A preset's head says what it is, and for the table:

    # published: CIFAR-10 test error 2.57 +- .07 % (3.6 M parameters)      as the paper says it; left out where unsure
    # verified: tests/methods/oracles/test_dirichlet.py      where its formula is held against an oracle
"""

import re
from importlib.resources import files
from pathlib import Path

from supernet.presets import preset, preset_names

BEGIN, END = "<!-- methods: make pages -->", "<!-- end of methods -->"
README = Path(__file__).resolve().parents[1] / "README.md"
NOT_PARTS = ("name", "warmup_epochs", "order", "alpha_every")
LINK = re.compile(r"https://[^\s,;)]+[^\s,;).]")


def table() -> str:
    """The table as Markdown, a line a preset."""
    rows = [row(name) for name in preset_names("method")]
    head = [
        "| `method=` | what it does | parts | paper | published | checked here |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*head, *rows])


def row(name: str) -> str:
    """One line of the table."""
    head = comment(name)
    lines = [line for line in head if not line.startswith(("published:", "verified:", "supernet search"))]
    text = " ".join(lines)
    what = re.split(r" \((?:[A-Z]|https)|\. |$", text)[0].rstrip(".,:")
    link = LINK.search(text)
    paper = f"[{_short(link[0])}]({link[0]})" if link else ""
    return f"| `{name}` | {what} | {parts(name)} | {paper} | {fact(head, 'published')} | {fact(head, 'verified')} |"


def _short(link: str) -> str:
    """An arXiv number, or where the link leads to."""
    number = link.removeprefix("https://arxiv.org/abs/")
    return number if number != link else link.removeprefix("https://").split("/")[0]


def comment(name: str) -> list[str]:
    """The lines of a preset's head, without their marks."""
    text = (files("supernet.conf") / "method" / f"{name}.yaml").read_text(encoding="utf-8")
    lines = text.splitlines()
    end = next(i for i, line in enumerate(lines) if not line.startswith("#"))
    return [line.lstrip("# ").strip() for line in lines[1:end]]


def parts(name: str) -> str:
    """The parts that are not those of plain DARTS, and settings beside them."""
    settings = preset("method", name)
    method = settings["method"]
    assert isinstance(method, dict)
    names = []
    for group, value in method.items():
        for part in (value if isinstance(value, list) else [value]) if group not in NOT_PARTS else ():
            names.append(part["name"] if isinstance(part, dict) else part)
    shown = [part for part in names if part and part not in ("softmax", "projection", "adam")]
    network = settings.get("network")
    more = [f"{key}={value}" for key, value in network.items()] if isinstance(network, dict) else []
    return ", ".join(f"`{word}`" for word in [*shown, *more])


def fact(head: list[str], name: str) -> str:
    """What a line of the head says, or nothing."""
    return next((line.partition(":")[2].strip() for line in head if line.startswith(f"{name}:")), "")


def written(readme: str) -> str:
    """`readme` with the table between its marks."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    README.write_text(written(README.read_text(encoding="utf-8")), encoding="utf-8")
