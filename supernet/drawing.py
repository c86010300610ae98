"""The command `supernet draw`: pictures of a genotype, of a search run as it stands, or of a whole space."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import SupernetError, unknown
from .space import Genotype, Space, get_space
from .space.form import load_space
from .space.lookup import find_genotype, find_space, kept_space
from .space.space import Strengths

__all__ = ["draw", "run_strengths"]

YAML = (".yaml", ".yml")


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
    if genotype and run:
        raise SupernetError("genotype and run are two drawings: give one of them")
    if not (genotype or run or space):
        raise SupernetError("nothing to draw: give genotype=NAME, run=FOLDER or space=NAME")
    folder, stem, kind = _target(to, format)
    given = _space(space, allow) if space else None
    if genotype:
        subject = _of_genotype(genotype, given, allow)
    elif run:
        subject = _of_run(run, given, allow)
    else:
        assert given is not None
        subject = Subject(given.name, given)
    from .report.drawings import draw_space
    from .report.files import save  # matplotlib only once all is found

    figures = draw_space(subject.space, subject.genotype, subject.strengths)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, figure in figures.items():
        parts = [stem or _slug(subject.name), *([_slug(name)] if len(figures) > 1 or not stem else [])]
        written.append(folder / f"{'-'.join(parts)}.{kind}")
        save(figure, written[-1])
    return written


def run_strengths(space: Space, run: str | os.PathLike[str]) -> dict[str, list[list[float]]]:
    """The mixing weights in the newest good checkpoint of a search run, {table name: [E][O]}; changes no file.

    Raises SupernetError where there is none, or where it is of another space.
    """
    from .methods import RELAXATIONS
    from .network.options import absent_in
    from .runs.folder import RunFolder

    folder = RunFolder(Path(run))
    state = _newest(folder)
    relaxation: Any = RELAXATIONS[folder.config["config"]["method"]["relaxation"]]()
    relaxation.load_state_dict(state.get("parts", {}).get("relaxation", {}))
    found = {}
    for table in space.tables:
        alpha = state["net"].get(f"alpha.{table.name}")
        if alpha is None or tuple(alpha.shape) != table.shape:
            raise SupernetError(
                f"the run {folder.path} is of another space: it has no alphas {table.shape} called {table.name!r}"
            )
        found[table.name] = relaxation(alpha.masked_fill(absent_in(state["net"], table), float("-inf")), table).tolist()
    return found


def _newest(folder: Any) -> Mapping[str, Any]:
    """The state of the bilevel step in the newest checkpoint that is whole; damaged ones are passed over."""
    from .runs.checkpoint import Checkpoints
    from .runs.manifest import Damaged

    checkpoints = Checkpoints(folder.checkpoints)
    for step in reversed(checkpoints.steps):
        try:
            program = checkpoints.load(step)["program"]
        except Damaged:
            continue
        if "bilevel" not in program:
            raise SupernetError(f"the run {folder.path} has no alphas; draw its result: genotype={folder.path}")
        return dict(program["bilevel"])
    raise SupernetError(f"the run {folder.path} has no good checkpoint yet; one is written after each epoch")


def _of_genotype(reference: str, given: Space | None, allow: Sequence[str]) -> Subject:
    reference = os.path.expanduser(reference)
    genotype, label = find_genotype(reference)
    published = not label.startswith(genotype.hash)
    name = label.rpartition(":")[2] if published else f"{genotype.space}-{genotype.hash[:8]}"
    return Subject(name, given or find_space(reference, genotype, allow), genotype=genotype)


def _of_run(reference: str, given: Space | None, allow: Sequence[str]) -> Subject:
    from .runs.folder import RunFolder

    path = Path(reference).expanduser()
    if not (path / "config.json").is_file():
        beside = [p.name for p in path.parent.iterdir() if p.is_dir()] if path.parent.is_dir() else []
        raise SupernetError(unknown(f"run folder in {path.parent}:", path.name, beside, most=6))
    stored = RunFolder(path).config
    if stored.get("stage") != "search":
        raise SupernetError(f"{path} is a run of stage {stored.get('stage')}, without alphas; draw genotype={path}")
    space = given or _searched(stored, path, allow)
    return Subject(path.resolve().name, space, strengths=run_strengths(space, path))


def _searched(stored: Mapping[str, Any], path: Path, allow: Sequence[str]) -> Space:
    """The space that a run is about: that of the file in its folder, else the registered one."""
    kept = kept_space(path)
    if kept is not None:
        return kept.space(allow)
    if label := stored.get("identity", {}).get("label"):
        raise SupernetError(
            f"the run {path} searched the space {str(label)[:60]!r}, which is not registered: give space=FILE.yaml, or "
            "in Python supernet.report.drawings.draw_space(found.net.space, strengths=found.net.strengths())"
        )
    chosen = stored["config"]["space"]
    return get_space(chosen["name"], **chosen.get("args", {}))


def _space(name: str, allow: Sequence[str]) -> Space:
    return load_space(Path(name).expanduser(), allow) if name.endswith(YAML) else get_space(name)


def _target(to: str, format: str | None) -> tuple[Path, str, str]:
    """(folder, beginning of the names or "", kind of picture)"""
    from .report.files import KINDS

    if format is not None and format not in KINDS:
        raise SupernetError(unknown("format", format, KINDS))
    path = Path(to).expanduser()
    suffix = path.suffix.removeprefix(".").lower()
    if to.endswith("/") or path.is_dir() or not re.fullmatch(r"[a-z]{2,5}", suffix):
        if path.exists() and not path.is_dir():
            raise SupernetError(f"to={to[:200]} is a file; give a folder, or a name that ends in .svg or .png")
        return path, "", format or KINDS[0]
    if suffix not in KINDS:
        told = unknown("kind of picture", path.suffix, [f".{kind}" for kind in KINDS])
        raise SupernetError(f"{told}; a folder's name ends in /")
    if format not in (None, suffix):
        raise SupernetError(f"to={to[:200]} names a .{suffix}, format={format} another kind: give one of them")
    return path.parent, path.stem, suffix


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.")[:80] or "space"
