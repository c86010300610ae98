"""What a run is about: the space that it searched, and the genotype that stands for it now."""

import json
from collections.abc import Sequence

from ...errors import SupernetError
from ...runs.reading import RunRecord
from ...runs.shapes import as_written
from ...space import Genotype, Space, get_space
from ...space.lookup import find_genotype, find_space, kept_space

__all__ = ["drawn_genotype", "space_of_run"]


def drawn_genotype(run: RunRecord) -> Genotype | None:
    """That of genotype.json, else that of the last ended epoch; None where there is none, or it is damaged."""
    try:
        if (run.path / "genotype.json").is_file():
            return find_genotype(run.path)[0]
        with as_written(run.path, "a genotype"):
            return Genotype.from_json(json.dumps(run.states[-1]["genotype"])) if run.states else None
    except SupernetError:
        return None


def space_of_run(run: RunRecord, allow: Sequence[str] = ()) -> Space | None:
    """The space of the file in the run's folder, else the registered one; None where neither can be had.

    `allow` has the prefixes of import paths whose classes the file may name. Those that the run itself allowed count
    for nothing here: its folder may be a stranger's.
    """
    try:
        if (genotype := drawn_genotype(run)) is not None:
            return find_space(run.path, genotype, allow)
        if (file := kept_space(run.path)) is not None:
            return file.space(allow)
        with as_written(run.path, "the space of a search"):
            chosen = run.config["space"]
            return get_space(chosen["name"], **chosen.get("args", {}))
    except SupernetError:
        return None
