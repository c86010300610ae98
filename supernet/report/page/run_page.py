"""Puts the page of a run together: what was read, the drawings, the template, and a policy that lets nothing load."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup

from ... import files
from ...errors import SupernetError
from ...runs.names import PAGE
from ...runs.reading import RunRecord, read_run, thinned
from ...space import Genotype, Space
from . import facts
from .alphas import HeatTable, heat_tables
from .beside import beside
from .curves import Panel, columns_of, draw_panel, panels, table_rows
from .policy import encodable, environment, page_policy, page_style, part, trusted
from .subject import drawn_genotype, space_of_run
from .svg import inline

__all__ = ["render", "write_page"]

MOST_ROWS = 120  # epochs in the table of all numbers


@dataclass(frozen=True)
class Drawing:
    """A picture with its heading; `svg` None where it would be too large for a page."""

    title: str
    svg: Markup | None


def write_page(folder: str | os.PathLike[str], space: Space | None = None, allow: Sequence[str] = ()) -> Path:
    """Writes report.html of a run folder, whole or not at all; its path.

    `space` is the run's, where it is at hand; else it is looked for, and `allow` has the prefixes of import paths whose
    classes its file may name. Raises SupernetError where the folder holds no run.
    """
    path = Path(folder) / PAGE
    files.write_text(path, render(read_run(folder), space, allow))
    return path


def render(run: RunRecord, space: Space | None = None, allow: Sequence[str] = (), *, live: bool = False) -> str:
    """The page of a run as HTML; `live` for one that is served, which has no links to files."""
    space = space or space_of_run(run, allow)
    genotype = drawn_genotype(run)
    ends, heat, own, more = heat_tables(run.states, space)
    first, everything = facts.setting_rows(run)
    rows, columns = thinned(run.epochs, MOST_ROWS), columns_of(run.epochs)
    text = (
        environment()
        .get_template("run.html")
        .render(
            run=run,
            live=live,
            policy=page_policy(),
            style=trusted(page_style()),
            script=trusted(part("page.js")),
            headline=facts.headline(run),
            cells=list(_cells(space, genotype)),
            origin=_origin(genotype),
            heat=heat,
            own=own,
            more=more,
            moments=ends,
            alphas={"epochs": ends, "tables": [_for_script(table) for table in heat]},
            curves=[_curve(panel, f"c{number}-") for number, panel in enumerate(panels(run.epochs, run.stage))],
            decisions=facts.decisions(run),
            notes=_texts((run.result or {}).get("note")),
            beside=beside(run),
            settings=first,
            everything=everything,
            data=facts.about_data(run),
            cost=facts.cost_rows(run),
            clock=facts.time_rows(run),
            contents=[(name, size, f"./{quote(name)}") for name, size in facts.file_rows(run)],
            use=facts.use_lines(run),
            columns=columns,
            rows=table_rows(rows, columns),
        )
    )
    return encodable(text)


def _cells(space: Space | None, genotype: Genotype | None) -> Iterator[Drawing]:
    """The drawings of the genotype; none where its space is not at hand, or where the two do not fit."""
    if space is None or genotype is None:
        return
    from ..drawings import draw_space

    try:
        space.validate(genotype)
        figures = draw_space(space, genotype)
    except SupernetError:
        return
    for number, (kind, figure) in enumerate(figures.items()):
        yield Drawing(kind, inline(figure, f"g{number}-", f"the {kind} of genotype {genotype.hash}"))


def _curve(panel: Panel, prefix: str) -> Drawing:
    return Drawing(panel.title, inline(draw_panel(panel), prefix, panel.title))


def _origin(genotype: Genotype | None) -> dict[str, str]:
    if genotype is None:
        return {}
    words: dict[str, object] = {"hash": genotype.hash, "space": genotype.space}
    known = {key: genotype.origin[key] for key in ("method", "seed", "epochs", "date") if key in genotype.origin}
    return {key: str(value)[:80] for key, value in (words | known).items()}


def _for_script(table: HeatTable) -> Mapping[str, object]:
    return {"most": table.most, "values": table.values}


def _texts(value: object) -> list[str]:
    return [str(item)[:400] for item in value[:10]] if isinstance(value, list) else []
