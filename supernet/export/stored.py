"""What is known of an exported folder before its weights are read: its files are plain, and its record fits them.

The record is config.json; it and the weights may come from a stranger. The shapes stand at the beginning of a
safetensors file, whose library holds them against the size of the file. So a record that describes another network than
the weights are of is refused before that network takes memory.
"""

import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import nn

from ..errors import SupernetError
from ..network.shapes import difference

__all__ = ["WEIGHTS", "check_folder", "check_shapes", "folder_of", "shapes_in"]

WEIGHTS = "model.safetensors"


def folder_of(pretrained_cfg: object) -> Path | None:
    """The folder that timm opens, by the configuration that it read there; None for other sources of weights."""
    read = pretrained_cfg.get if isinstance(pretrained_cfg, Mapping) else lambda key: getattr(pretrained_cfg, key, None)
    file = read("file")
    return Path(file) if read("source") == "local-dir" and isinstance(file, str) else None


def check_folder(folder: Path) -> None:
    """Raises SupernetError unless each entry of the folder is a plain file or folder, or a link to one inside.

    Folders of the Hugging Face cache are links throughout, which stay inside the folder of their repository.
    """
    whole = folder.resolve()
    inside = whole.parents[1] if whole.parent.name == "snapshots" else whole
    for entry in whole.iterdir():
        try:
            mode = entry.stat().st_mode
        except OSError as error:
            raise SupernetError(f"{entry} cannot be opened ({error.strerror})") from None
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise SupernetError(f"{entry} is no plain file, and nothing else is read from an exported folder")
        if not entry.resolve().is_relative_to(inside):
            raise SupernetError(f"{entry} is a link to outside of {inside}; put the file itself in its place")


def check_shapes(folder: Path, network: nn.Module, free: Sequence[str] = ()) -> None:
    """Raises SupernetError where `network`, made by the record, has other shapes than the folder's weights.

    Names that begin with an entry of `free` are not compared: the head that timm may have changed. Without a
    safetensors file there is nothing to compare.
    """
    path = folder / WEIGHTS
    if path.exists():
        shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
        if differs := difference(shapes, shapes_in(path), free):
            raise SupernetError(f"{folder / 'config.json'} describes another network than {WEIGHTS} holds: {differs}")


def shapes_in(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor, from the beginning of the file alone; raises SupernetError where it is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError) as error:
        raise SupernetError(f"{path} is no whole safetensors file ({str(error)[:120]})") from None
