"""Writes docs/settings.md, the page of all settings, from where they are defined: `make pages`."""

from pathlib import Path

from supernet.cli.stage_help import groups_of
from supernet.config.explain import explained
from supernet.stages import STAGES

HEAD = """\
# Settings

Every setting of every stage, with its default and what it is for. This page is generated from the dataclasses in
`supernet/config` (`make pages`); `supernet STAGE --help` prints the same text, and `supernet STAGE --cfg job` the
values that a command line composes.
"""


def page() -> str:
    """The page as Markdown."""
    parts = [HEAD]
    for stage in STAGES.values():
        if stage.config is None:
            continue
        groups = ", ".join(f"`{group}`" for group in groups_of(stage.name))
        parts.append(f"## supernet {stage.name}\n\n{stage.help[0].upper()}{stage.help[1:]}.\n")
        if groups:
            parts.append(f"Parts, chosen with `group=option`: {groups}.\n")
        rows = [f"| `{s.name}` | `{s.default}` | {s.text} |" for s in explained(stage.config)]
        parts.append("\n".join(["| setting | default | what it is for |", "| --- | --- | --- |", *rows]) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    (Path(__file__).parent / "settings.md").write_text(page(), encoding="utf-8")
