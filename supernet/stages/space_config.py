"""The space that a run is about: registered, in a YAML file, or handed over; and how the run's folder keeps it."""

import hashlib
from pathlib import Path

from .. import files
from ..config import SpaceConfig
from ..errors import SupernetError
from ..space import SPACES, Space, TopKCells, get_space
from ..space.form import space_file, write_space
from ..space.lookup import SPACE_FILE

__all__ = ["configured", "keep", "label_of", "label_of_own"]


def configured(config: SpaceConfig) -> Space:
    """The space that the settings name: that of `file`, else the registered one."""
    if config.file is None:
        return get_space(config.name, **config.args)
    try:
        return space_file(config.file).space(config.allow)
    except SupernetError as error:
        raise SupernetError(_named(config.file, error)) from None


def label_of(config: SpaceConfig) -> str | None:
    """Names a space file by its content in the identity of a run; None for a registered space. Builds nothing."""
    if config.file is None:
        return None
    file = space_file(config.file)
    return f"{file.name}-{file.digest}"


def label_of_own(space: Space) -> str:
    """Names a space that was handed over by what it offers: the order of options decides what a column means."""
    tables = [(table.name, table.rows, table.columns) for table in space.tables]
    projection = f"top{space.k}" if isinstance(space, TopKCells) else "argmax"  # two spaces may differ in k alone
    offer = repr((space.version, space.args, projection, tables))
    return f"{space.name}-{hashlib.sha256(offer.encode()).hexdigest()[:6]}"


def keep(space: Space, folder: Path) -> None:
    """Write the YAML form of a space that is not registered into a run's folder; without one nothing is written."""
    if space.name in SPACES or (folder / SPACE_FILE).exists():
        return
    try:
        text = write_space(space)
    except SupernetError:  # a network of Python code without an import path: only Python finds it again
        return
    files.write_text(folder / SPACE_FILE, text)


def _named(file: str, error: SupernetError) -> str:
    return str(error) if file in str(error) else f"{file}: {error}"
