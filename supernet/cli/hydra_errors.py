"""Hydra's and OmegaConf's complaints in one line each: what was given, what is allowed, the nearest right name."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import yaml
from hydra.core.object_type import ObjectType
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ..errors import SupernetError, nearest, unknown
from ..files import is_yaml
from .exit_codes import one_line
from .foreign import Loader
from .settings import compose

__all__ = ["explained"]

FREE = ("network", "space.args", "data.kwargs")  # groups whose keys belong to the network, the space, the data set


@contextmanager
def explained(stage: str, loader: Loader, name: str, overrides: Sequence[str]) -> Iterator[None]:
    """Turns what composing raises into SupernetError; other exceptions are errors of ours and pass."""
    try:
        yield
    except SupernetError:
        raise
    except OverrideParseException as error:
        raise SupernetError(_syntax(error.override)) from None
    except MissingConfigException as error:
        raise SupernetError(_missing(loader, error)) from None
    except (HydraException, OmegaConfBaseException, UserWarning) as error:
        raise SupernetError(_composition(stage, loader, name, overrides, error)) from None
    except yaml.YAMLError as error:
        raise SupernetError(f"a configuration file is no YAML: {one_line(error, 300)}") from None
    except (RecursionError, AssertionError, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        # Hydra's loader meets odd input with any of these, such as an AssertionError for `~data=[]`.
        reason = one_line(error, 160) or type(error).__name__
        raise SupernetError(
            f"the overrides cannot be composed ({reason}); given: {_short(' '.join(overrides))}"
        ) from None


def _syntax(override: str) -> str:
    """Hydra's grammar has marks of its own: , { } [ ] ( ) = : and quotes."""
    key, equals, value = override.partition("=")
    if not equals:
        return f"the override {_short(override)!r} is no key=value; options begin with -"
    if not key.strip():
        return f"the override {_short(override)!r} has no key in front of the ="
    return (
        f"the value of {_short(key)!r} cannot be read: {_short(value)!r}; close brackets and quotes, and put text with "
        f"marks such as , = : or brackets into quotes of both kinds: '{_short(key)}=\"...\"'"
    )


def _missing(loader: Loader, error: MissingConfigException) -> str:
    file = error.missing_cfg_file or ""
    if file.startswith("space/") and is_yaml(file):
        file = _short(file.removeprefix("space/"))
        return f"space={file} is a file, where the name of a space is asked; write space.file={file}"
    group, slash, option = file.rpartition("/")
    if not slash:
        return f"no configuration {_short(file)!r} in the search path; without --config-name the stage's own is taken"
    options = loader.get_group_options(group, ObjectType.CONFIG)
    if not options:
        return unknown("part", group, _groups(loader))
    return unknown(f"option of {group}:", option, options)


def _composition(stage: str, loader: Loader, name: str, overrides: Sequence[str], error: BaseException) -> str:
    text = str(error)
    if match := re.match(r"Could not (?:override|delete from config\.) '([^']*)'", text):
        inside = str(getattr(error.__cause__, "full_key", None) or "")  # of `data={nme: x}` it is the key data.nme
        key = inside if inside.startswith(f"{match[1]}.") else match[1].rstrip(".")
        return _unknown_key(stage, loader, name, overrides, key)
    if match := re.match(r"Could not append to config. An item is already at '([^']*)'", text):
        return f"{_short(match[1])} is there already; leave out the + in front of it"
    if match := re.match(r"Ambiguous value for argument '(.*)'", text):
        key, _, value = match[1].partition("=")
        return (
            f"{_short(match[1])} has several values: write {key}=[{_short(value)}] for a list, or -m for one run each"
        )
    if match := re.match(r"Sweep parameters '(.*)' requires", text):
        return f"{_short(match[1])} is a sweep; add -m for one run each"
    if match := re.match(r"In '([^']*)': Could not override '([^']*)'", text):
        return (
            f"{_short(match[1])} sets the part {match[2]!r}, which stage {stage} does not have; it is for another stage"
        )
    if isinstance(error, OmegaConfBaseException) or not text:
        cause = error.__cause__ or error
        text = str(getattr(cause, "msg", None) or cause)
        key = getattr(cause, "full_key", None)
        text = f"{key}: {text.partition(chr(10))[0]}" if key else text.partition("\n")[0]
    elif error.__cause__ is not None:
        text = f"{text}: {str(error.__cause__).partition(chr(10))[0]}"
    return one_line(text, 400)


def _unknown_key(stage: str, loader: Loader, name: str, overrides: Sequence[str], key: str) -> str:
    """The nearest setting is sought among those that the other overrides give, because parts bring their own."""
    others = [line for line in overrides if line.lstrip("+~").partition("=")[0].partition("@")[0] != key]
    values: dict[str, object] = {}
    choices: dict[str, object] = {}
    for lines in (others, []):
        try:
            composed = compose(loader, name, lines)
        except Exception:  # another mistake; it has its turn when this one is mended
            continue
        choices = dict(composed.hydra.runtime.choices)
        everything = OmegaConf.to_container(composed, resolve=False)
        values = {str(k): v for k, v in everything.items() if k != "hydra"} if isinstance(everything, dict) else {}
        break
    parts = sorted(group for group in choices if not group.startswith("hydra/"))
    head = key.partition(".")[0]
    if head in _groups(loader) and head not in parts and head not in values:
        here = key.rpartition(".")[2]
        hint = f"; did you mean {here!r}?" if "." in key and here in values and here not in parts else ";"
        return f"stage {stage} has no part {head!r}{hint} its parts are {', '.join(parts) or 'none'}"
    keys = list(_keys(values))
    siblings, where = _siblings(values, key)
    tail = key.rpartition(".")[2]
    same = [k for k in keys if k.rpartition(".")[2] == tail]
    if "." in key or not same:
        near = [*siblings, *parts] if "." not in key else [k for k in keys if not key.startswith(f"{k}.")]
        close = nearest(key, near)
        same = [close] if close else same
    allowed = sorted({*siblings, *parts}) if not where else sorted(siblings)
    shown = ", ".join(allowed[:24]) + (f", ... ({len(allowed)} in all)" if len(allowed) > 24 else "")
    hint = f"; did you mean {' or '.join(map(repr, same[:3]))}?" if same else ";"
    more = f"; +{_short(key)}=... adds one that is not listed" if where in FREE else ""
    return f"unknown setting {_short(key)!r}{hint} Allowed{' in ' + where if where else ''}: {shown or 'none'}{more}"


def _siblings(values: Mapping[str, object], key: str) -> tuple[list[str], str]:
    """The keys beside the first part of `key` that is unknown, and the part before it, which is known."""
    where: list[str] = []
    for step in key.split(".")[:-1]:
        inner = values.get(step)
        if not isinstance(inner, dict):
            break
        values = inner
        where.append(step)
    prefix = ".".join(where)
    return [f"{prefix}.{k}" if prefix else str(k) for k in values], prefix


def _keys(values: Mapping[str, object], where: str = "") -> Iterator[str]:
    for key, value in values.items():
        name = f"{where}.{key}" if where else str(key)
        yield name
        if isinstance(value, dict):
            yield from _keys(value, name)


def _groups(loader: Loader) -> list[str]:
    return [group for group in loader.list_groups("") if group != "hydra"]


def _short(text: str, most: int = 80) -> str:
    return one_line(text, most)
