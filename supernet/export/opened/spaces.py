"""The space inside config.json: how an export writes it, and how a folder that a stranger may have made is read.

It is the YAML form of the space (space/form), so that nothing in it is executed: a wrapped network by its name in timm
and its rules, a network in the language, or a class by an import path that the user has allowed.
"""

from collections.abc import Mapping

from ...errors import SupernetError, short
from ...space import SPACES, Genotype, Space
from ...space.form import parse_space
from ...space.form.allowed import allowed_networks
from ...space.form.strict import MOST_BYTES

__all__ = ["class_of", "opened_space", "written_space"]


def written_space(space: Space | None) -> str | None:
    """The YAML form of `space`; None where nobody handed it over, or it is of a class without an import path.

    Raises SupernetError for a wrapped network whose rules are code: no folder can bring those.
    """
    if space is None or not space.macro or space.name in SPACES:
        return None
    try:
        text = space.to_yaml()
    except SupernetError as error:
        if hasattr(space.factory, "written_form"):
            raise SupernetError(f"the folder would not open again: {error}") from None
        return None
    document = parse_space(text)
    if "wrap" not in document.data:
        return text
    wrapped = document.data["wrap"]
    assert isinstance(wrapped, Mapping)
    return text if not wrapped.get("pretrained") else text.replace("\n  pretrained: true\n", "\n", 1)


def class_of(text: str) -> str | None:
    """The import path of the class that the document of a space names; None where it names none."""
    data = parse_space(text).data
    wrapped = data.get("wrap")
    path = wrapped.get("class") if isinstance(wrapped, Mapping) else data.get("class")
    return path if isinstance(path, str) else None


def opened_space(text: object, point: Genotype) -> Space:
    """The space of a folder's record, of which `point` must be a point; raises SupernetError with one line.

    Only classes that the user has allowed are imported.
    """
    if not isinstance(text, str) or len(text) > MOST_BYTES:
        raise SupernetError(f"the space in config.json must be the text of a space file, not {short(repr(text), 60)}")
    try:
        space = parse_space(text).space(allowed_networks())
        if space.name in SPACES:
            raise SupernetError(f"{space.name!r} is a registered space, which config.json does not bring")
        space.validate(point)
    except SupernetError as error:
        raise SupernetError(f"config.json, the space: {error}") from None
    except Exception as error:  # of any kind: sizes that no layer takes, in a folder that a stranger may have written
        reason = " ".join(str(error).split())
        raise SupernetError(f"config.json, the space: it makes no network: {short(reason, 160)}") from None
    return space
