"""Drawing as a function: pictures of a genotype, of a search run as it stands, or of a whole space."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import SupernetError, unknown
from ..files import is_yaml, slug
from ..space import Genotype, Space, get_space
from ..space.form import load_space
from ..space.lookup import find_genotype, find_space, kept_space
from ..space.space import Strengths

if TYPE_CHECKING:
    from ..runs.folder import RunFolder

__all__ = ["draw", "run_strengths"]


@dataclass(frozen=True)
class Subject:
    """What is drawn, and the name that its files begin with."""

    name: str
    space: Space
    genotype: Genotype | None = None
    strengths: Strengths | None = None


def draw(
    *,
    genotype: str | None = None,
    run: str | None = None,
    space: str | None = None,
    to: str = ".",
    format: str | None = None,
    allow: Sequence[str] = (),
) -> list[Path]:
    """Draws `genotype` (file, folder or published name), the mixing weights of the search `run`, or all of `space`.

    `space` is a registered name or a YAML file; with `genotype` or `run` it is the space that these are of. `to` is a
    folder or the name of a picture, .svg or .png; `format` serves where it is a folder. `allow` has the prefixes of
    import paths whose classes a YAML file may name. Returns the files, one for each kind of cell. Raises SupernetError
    for what is not there or does not fit.
    """
    folder, stem, kind = _target(to, format)
    subject = _subject(genotype, run, space, allow)
    from ..report.drawings import draw_space
    from ..report.files import save  # matplotlib only once all is there

    figures = draw_space(subject.space, subject.genotype, subject.strengths)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, figure in figures.items():
        parts = [stem or _slug(subject.name), *([_slug(name)] if len(figures) > 1 or not stem else [])]
        written.append(folder / f"{'-'.join(parts)}.{kind}")
        save(figure, written[-1])
    return written


def run_strengths(space: Space, run: str | os.PathLike[str]) -> Mapping[str, Sequence[Sequence[float]]]:
    """The mixing weights in the newest good checkpoint of a search run, {table name: [E][O]}; changes no file.

    Raises SupernetError where there is none, or where it is of another space.
    """
    from ..runs.checkpoint import Checkpoints
    from ..runs.folder import RunFolder
    from ..runs.manifest import Damaged
    from ..runs.same_data import noted_digest
    from ..runs.shapes import as_written
    from ..train.strengths import strengths_of

    folder = RunFolder(run)
    checkpoints = Checkpoints(folder.checkpoints, config=folder.config.get("hash"), data=noted_digest(folder))
    for step in reversed(checkpoints.steps):
        try:
            state = checkpoints.load(step).get("program", {})
        except Damaged:  # the one before may be whole
            continue
        try:
            with as_written(folder.checkpoints, "a state of this search"):
                return strengths_of(state, folder.config["config"], space)
        except SupernetError as error:
            raise SupernetError(f"the run {folder.path} {error}") from None
    raise SupernetError(f"the run {folder.path} has no good checkpoint yet; one is written after each epoch")


def _subject(genotype: str | None, run: str | None, space: str | None, allow: Sequence[str]) -> Subject:
    if genotype and run:
        raise SupernetError("genotype and run are two drawings: give one of them")
    named = _space(space, allow) if space else None
    if genotype:
        return _of_genotype(genotype, named, allow)
    if run:
        return _of_run(run, named, allow)
    if named is None:
        raise SupernetError("nothing to draw: give genotype=NAME, run=FOLDER or space=NAME")
    return Subject(named.name, named)


def _of_genotype(reference: str, space: Space | None, allow: Sequence[str]) -> Subject:
    reference = os.path.expanduser(reference)
    genotype, label = find_genotype(reference)
    published = not label.startswith(genotype.hash)
    name = label.rpartition(":")[2] if published else f"{genotype.space}-{genotype.hash[:8]}"
    return Subject(name, space or find_space(reference, genotype, allow), genotype=genotype)


def _of_run(reference: str, space: Space | None, allow: Sequence[str]) -> Subject:
    from ..runs.folder import RunFolder

    run = RunFolder.existing(reference)
    stage = run.config.get("stage")
    if stage != "search":
        raise SupernetError(f"{run.path} is a run of stage {stage}, without alphas; draw genotype={run.path}")
    space = space or _searched(run, allow)
    return Subject(run.path.resolve().name, space, strengths=run_strengths(space, run.path))


def _searched(run: "RunFolder", allow: Sequence[str]) -> Space:
    """The space that a run is about: that of the file in its folder, else the registered one."""
    file = kept_space(run.path)
    if file is not None:
        return file.space(allow)
    stored = run.config
    if label := stored["identity"].get("label"):
        raise SupernetError(
            f"the run {run.path} searched the space {str(label)[:60]!r}, which is not registered: give "
            "space=FILE.yaml, or in Python supernet.report.drawings.draw_space(found.net.space, "
            "strengths=found.net.strengths())"
        )
    from ..runs.shapes import as_written

    with as_written(run.path / "config.json", "the space of a search"):
        chosen = stored["config"]["space"]
        return get_space(chosen["name"], **chosen.get("args", {}))


def _space(name: str, allow: Sequence[str]) -> Space:
    return load_space(Path(name).expanduser(), allow) if is_yaml(name) else get_space(name)


def _target(to: str, format: str | None) -> tuple[Path, str, str]:
    """(folder, beginning of the names or "", kind of picture)"""
    from ..report.files import KINDS

    if format is not None and format not in KINDS:
        raise SupernetError(unknown("format", format, KINDS))
    path = Path(to).expanduser()
    suffix = path.suffix.removeprefix(".").lower()
    if to.endswith("/") or path.is_dir() or not re.fullmatch(r"[a-z]{2,5}", suffix):
        if path.exists() and not path.is_dir():
            raise SupernetError(f"to={to[:200]} is a file; give a folder, or a name that ends in .svg or .png")
        return path, "", format or KINDS[0]
    if suffix not in KINDS:
        message = unknown("kind of picture", path.suffix, [f".{kind}" for kind in KINDS])
        raise SupernetError(f"{message}; a folder's name ends in /")
    if format not in (None, suffix):
        raise SupernetError(f"to={to[:200]} names a .{suffix}, format={format} another kind: give one of them")
    return path.parent, path.stem, suffix


def _slug(text: str) -> str:
    return slug(text, 80, or_else="space")
