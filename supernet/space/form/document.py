"""A space as a YAML document: schema, name, version, args, one of cells, network, wrap, decisions, class."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ...arguments import check_arguments
from ...errors import SupernetError
from ...files import read_text
from ..registry import SPACES, get_space
from ..space import Space
from .cells import read_cells
from .classes import check_allow, find_class
from .factories import named_by, registered
from .fields import FormError, Header, brief, fields, mapping, name, text, whole
from .network import NetworkForm
from .signature import signature
from .strict import MOST_BYTES, Data, read_yaml
from .tree import first_difference, read_tree, write_tree

__all__ = ["SCHEMA", "SpaceFile", "load_space", "parse_space", "read_space", "space_file"]

SCHEMA = 1
BODIES = ("cells", "network", "wrap", "decisions", "class")
_FIELDS = ("schema", "name", "version", "args", "arguments", *BODIES)


@dataclass(frozen=True)
class SpaceFile:
    """A document that was read but not built: needs no torch, imports nothing."""

    name: str
    data: Mapping[str, Data]

    @property
    def digest(self) -> str:
        """8 hex digits of the content: equal whatever comments and layout."""
        return hashlib.sha256(json.dumps(self.data).encode()).hexdigest()[:8]

    def space(self, allow: Sequence[str] = ()) -> Space:
        """The space; `allow` has the prefixes of import paths whose classes the document may name.

        A document may write down a registered space, and then takes over its rule of equal networks, but not redefine
        its name: what a genotype calls `darts` is the space `darts`.
        """
        space = self.build(allow)
        known = _registered(space)
        if known is not None and space.canonical_rule is None:
            space.canonical_rule = known.canonical_rule
        return space

    def build(self, allow: Sequence[str] = ()) -> Space:
        """The space, whatever is registered under its name."""
        version, args = whole(self.data.get("version", 1), "version", 1), mapping(self.data.get("args", {}), "args")
        return _body(self.data, {"name": self.name, "version": version, "args": args}, check_allow(allow))


def parse_space(source: str) -> SpaceFile:
    """The document in `source`, its header checked; raises SupernetError with one line for anything else."""
    own = fields(read_yaml(source), "a space file", _FIELDS, required=("schema", "name"))
    if own["schema"] != SCHEMA or isinstance(own["schema"], bool):
        raise FormError(f"schema: {brief(own['schema'])}; this version reads schema {SCHEMA}")
    space_name = name(own["name"], "name")
    whole(own.get("version", 1), "version", 1)
    mapping(own.get("args", {}), "args")
    bodies = [body for body in BODIES if body in own]
    if bodies not in (["cells"], ["network"], ["wrap"], ["decisions"], ["decisions", "class"]):
        here = " and ".join(bodies) or "none of them"
        raise FormError(
            f"a space file has one of cells, network, wrap, decisions, or class with decisions; here: {here}"
        )
    if "arguments" in own and "class" not in own:
        raise FormError("arguments: only a class has them here; those of a network stand in network.arguments")
    return SpaceFile(space_name, own)


def space_file(path: str | Path, *, links: bool = True) -> SpaceFile:
    """The document in a plain file, without `links` not in a link; raises SupernetError with its path."""
    path = Path(path)
    try:
        return parse_space(read_text(path, MOST_BYTES, links=links))
    except UnicodeDecodeError:
        raise SupernetError(f"{path}: the file is no UTF-8 text") from None
    except SupernetError as error:
        raise SupernetError(str(error) if str(error).startswith(str(path)) else f"{path}: {error}") from None
    except (OSError, ValueError) as error:  # ValueError: a path with a zero byte
        reason = getattr(error, "strerror", None) or error
        raise SupernetError(f"cannot read the space file {str(path)[:200]!r}: {reason}") from None


def read_space(source: str, allow: Sequence[str] = ()) -> Space:
    """The space that the YAML text describes.

    Classes by import path are taken only below the prefixes in `allow`, such as "mypkg.blocks". Raises SupernetError,
    one line that says where, for everything that is no space.
    """
    return parse_space(source).space(allow)


def load_space(path: str | Path, allow: Sequence[str] = ()) -> Space:
    """The space in a YAML file; otherwise as `read_space`."""
    document = space_file(path)
    try:
        return document.space(allow)
    except SupernetError as error:
        raise SupernetError(f"{path}: {error}") from None


def _body(data: Mapping[str, Data], header: Header, allow: tuple[str, ...]) -> Space:
    if "cells" in data:
        return read_cells(data["cells"], header)
    if "network" in data:
        return Space(NetworkForm(data["network"], allow, header["name"]), **header)
    if "wrap" in data:
        from ..wrap.form import WrapForm  # needs torch

        return Space(WrapForm(data["wrap"], allow, header["name"]), **header)
    root = read_tree(data["decisions"], "decisions")
    if "class" not in data:
        return Space(root, **header)
    space = _python(data, header, allow)
    if difference := first_difference(write_tree(root), write_tree(space.root)):
        raise FormError(f"class: {data['class']} has changed since its decisions were written: {difference}")
    return space


def _python(data: Mapping[str, Data], header: Header, allow: tuple[str, ...]) -> Space:
    """The space of a class, or of a function that makes a registered space."""
    path = text(data["class"], "class")
    if registered_name := named_by(path):
        if registered_name != header["name"] or "arguments" in data:
            raise FormError(f"class: {path} makes the space {registered_name!r} of the arguments `args` alone")
        return get_space(registered_name, **header["args"])
    arguments = mapping(data.get("arguments", {}), "arguments")
    net = find_class(path, allow, "class")
    check_arguments(net, arguments, f"class {path}")
    try:
        return Space(partial(net, **arguments) if arguments else net, **header)
    except SupernetError:
        raise
    except Exception as error:  # the class's own code may raise anything
        raise FormError(f"class: {path}(...): {type(error).__name__}: {brief(str(error), 160)}") from None


def _registered(space: Space) -> Space | None:
    """The registered space of this name, which a document may write down, but not redefine."""
    if space.name not in SPACES:
        return None
    try:
        known = registered(space.name, space.args)
    except SupernetError as error:
        raise FormError(f"name: {space.name!r} is a registered space; choose another name ({error})") from None
    if signature(known) != signature(space):
        difference = first_difference(write_tree(space.root), write_tree(known.root)) or "its version, tables or macro"
        raise FormError(
            f"name: {space.name!r} is a registered space with other decisions ({difference}); choose another name"
        )
    return known
