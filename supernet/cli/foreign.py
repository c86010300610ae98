"""YAML files that users name (`--config-dir`, `hydra.searchpath`) are data, whoever wrote them.

Hydra lets any file set the part `hydra`, where log handlers, launchers and callbacks are named, and with it the
environment of the run: whoever wrote the file then runs programs. Here a file does so only after `--trust`. Without it
Hydra's part is what it would be without the files, and this is compared whenever Hydra composes, before it acts: it
holds for each job of a sweep too. Nor does such a file read the environment (`${oc.env:...}`), and a group's option is
a name, not a path to elsewhere.
"""

import copy
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from hydra._internal import hydra as hydra_main
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from ..errors import SupernetError, short
from ..files import read_text
from .shown_defaults import show

__all__ = ["TRUST", "Loader", "loading"]

TRUST = "--trust"
COMMON = "common"  # what all stages share; a stage that is not the package's own has no more
ALLOW = ("allow", "space.allow")  # settings that let code be imported
MOST_BYTES = 1_000_000
MOST_VALUES = 20_000  # keys and values of a file, with what its aliases repeat
_Parser = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader  # used for its events only
# An interpolation reads another setting, or a resolver that tells nothing of the machine.
_HARMLESS = re.compile(r"\$\{(?:[\w.\[\]-]*\}|(?:hydra|now|oc\.select|python_version):)")
# What may differ in Hydra's part: whatever a file says there, Hydra writes over it, or refuses it (searchpath).
_FILLED_IN = {
    "hydra": ("overrides", "searchpath"),
    "hydra.job": ("config_name", "override_dirname"),
    "hydra.runtime": ("choices", "config_sources"),
}


class Loader(ConfigLoaderImpl):
    """Hydra's loader of the stage `stage`, for files that are `trusted` or not.

    What it composes only to be `shown` has the defaults of the data set as texts.
    """

    def __init__(self, config_search_path: ConfigSearchPath, *, stage: str, trusted: bool, shown: bool = False) -> None:
        super().__init__(config_search_path)
        self.stage, self.trusted, self.shown = stage, trusted, shown
        self.repository = _Repository(config_search_path, trusted)
        self._own: dict[tuple[str, ...], object] = {}

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        """As Hydra's; raises SupernetError where a file that is not trusted has changed Hydra's part."""
        composed = super().load_configuration(config_name, overrides, run_mode, from_shell, validate_sweep_overrides)
        if not self.trusted and any(source.schema == "file" for source in composed.hydra.runtime.config_sources):
            typed = OverridesParser.create().parse_overrides(overrides)
            _check_overrides(composed, typed)
            own = self._without_files(tuple(str(o.input_line) for o in typed if o.is_hydra_override()))
            if difference := next(_differences(_part(composed), own, "hydra"), None):
                raise _untrusted(f"a YAML file sets {difference}")
            _check_allow(composed, typed)
        if run_mode == RunMode.MULTIRUN:
            _check_list(Path(str(OmegaConf.select(composed, "hydra.sweep.dir")), "multirun.yaml"))
        if self.shown:
            show(composed)
        return composed

    def _without_files(self, typed: tuple[str, ...]) -> object:
        """Hydra's part as the stage and the `typed` overrides of it make it, without any file of the user."""
        if typed not in self._own:
            path = copy.deepcopy(self.config_search_path)
            path.get_path()[:] = [entry for entry in path.get_path() if not str(entry.path).startswith("file://")]
            lines = [line for line in typed if "hydra.searchpath" not in line.partition("=")[0]]
            plain = ConfigLoaderImpl(path)
            name = self.stage if plain.repository.config_exists(self.stage) else COMMON
            composed = plain.load_configuration(name, lines, RunMode.RUN, validate_sweep_overrides=False)
            self._own[typed] = _part(composed)
        return self._own[typed]


@contextmanager
def loading(stage: str, *, trusted: bool, shown: bool) -> Iterator[None]:
    """Inside, Hydra's own main composes by `Loader`, for the run itself and for each job of a sweep."""
    names = vars(hydra_main)
    before = names["ConfigLoaderImpl"]
    names["ConfigLoaderImpl"] = partial(Loader, stage=stage, trusted=trusted, shown=shown)
    try:
        yield
    finally:
        names["ConfigLoaderImpl"] = before


class _Repository(ConfigRepository):
    """Where the loader finds files: names only, and of the user's folders only what is data."""

    def __init__(self, config_search_path: ConfigSearchPath, trusted: bool) -> None:
        self.trusted = trusted
        super().__init__(config_search_path)

    def initialize_sources(self, config_search_path: ConfigSearchPath) -> None:
        super().initialize_sources(config_search_path)
        self.sources = [  # Hydra loads its sources as plugins, under a class that is not the imported one
            _Folder(source.provider, source.full_path(), self.trusted) if source.scheme() == "file" else source
            for source in self.sources
        ]

    def load_config(self, config_path: str) -> ConfigResult | None:
        if not _is_name(config_path):
            group, slash, option = config_path.partition("/")
            what = f"{group}={option}" if slash and _is_name(group) else config_path
            raise SupernetError(
                f"{short(what, 80)!r} is a path; an option is a name, such as data=my for data/my.yaml in a folder "
                "that --config-dir names"
            )
        return super().load_config(config_path)

    def get_group_options(self, group_name: str, results_filter: ObjectType | None = ObjectType.CONFIG) -> list[str]:
        return super().get_group_options(group_name, results_filter) if _is_name(group_name) else []

    def group_exists(self, config_path: str) -> bool:
        return _is_name(config_path) and super().group_exists(config_path)

    def config_exists(self, config_path: str) -> bool:
        return _is_name(config_path) and super().config_exists(config_path)


class _Folder(FileConfigSource):
    """A folder of the user's YAML files: plain files inside it, of a bounded size."""

    def __init__(self, provider: str, path: str, trusted: bool) -> None:
        super().__init__(provider, path)
        self.trusted = trusted

    def load_config(self, config_path: str) -> ConfigResult:
        path = Path(self.path, self._normalize_file_name(config_path))
        if not path.resolve().is_relative_to(Path(self.path).resolve()):
            raise SupernetError(f"{path} is a link to outside of {self.path}; put the file itself in its place")
        text = read_text(path, MOST_BYTES)
        _check_size(text, path)
        config = OmegaConf.load(io.StringIO(text))
        if not self.trusted:
            _check_data(OmegaConf.to_container(config, resolve=False), config_path, path)
        header = self._get_header_dict(text[:512])
        return ConfigResult(config=config, path=self.full_path(), provider=self.provider, header=header)


def _is_name(config_path: str) -> bool:
    """Whether each part of `group/option` is a name; "" stands for the top."""
    parts = config_path.split("/") if config_path else []
    return not any(part in ("", ".", "..") or "\\" in part or "\0" in part for part in parts)


def _check_data(content: object, config_path: str, path: Path) -> None:
    """Raises SupernetError where a file sets Hydra's part, or reads what is no setting."""
    keys = [str(key).partition(".")[0] for key in content] if isinstance(content, Mapping) else []
    if "hydra" in keys or config_path.partition("/")[0] == "hydra":
        raise _untrusted(f"{path} sets Hydra's own part")
    for text in _texts(content):
        if text.count("${") > len(_HARMLESS.findall(text)):
            raise SupernetError(
                f"{path} has the interpolation {short(text, 60)!r}, which may read the environment; {TRUST} allows it, "
                "if you know who wrote the file"
            )


def _check_overrides(composed: DictConfig, typed: Sequence[Override]) -> None:
    """Raises SupernetError where more is in Hydra's list of what was typed, which each job of a sweep begins with."""
    for name in ("hydra", "task"):
        lines = [o.input_line for o in typed if o.is_hydra_override() == (name == "hydra")]
        if list(composed.hydra.overrides[name]) != lines:
            raise _untrusted(f"a YAML file sets hydra.overrides.{name}")


def _check_allow(composed: DictConfig, typed: Sequence[Override]) -> None:
    """Raises SupernetError where a file says which code may be imported; that is typed."""
    named = {key: value for key in ALLOW if (value := OmegaConf.select(composed, key, throw_on_missing=False))}
    if not named:
        return
    groups = [o.key_or_group for o in typed if isinstance(o.value(), dict)]
    for key, value in named.items():
        if key not in [o.key_or_group for o in typed] and key.partition(".")[0] not in groups:
            raise SupernetError(
                f"a YAML file sets {key}={short(str(value), 80)}, which lets a space file import code; type it on the "
                f"command line, or add {TRUST} if you know who wrote the file"
            )


def _check_list(path: Path) -> None:
    """Raises SupernetError where Hydra would write the list of a sweep's settings through a link."""
    if path.is_symlink():
        raise SupernetError(f"{path} is a link, and a sweep would write what is behind it; remove it")


def _untrusted(what: str) -> SupernetError:
    return SupernetError(
        f"{short(what, 300)}, which may run programs; type such a setting on the command line, as in "
        f"hydra/launcher=joblib, or add {TRUST} if you know who wrote the file"
    )


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(key)
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _check_size(text: str, path: Path) -> None:
    """Raises SupernetError where the file, its aliases written out, has too many values: a small file can have 10^9."""
    values, sizes, begun = 0, {}, []  # begun: (anchor, values before it) of what is open
    for event in yaml.parse(text, Loader=_Parser):
        if isinstance(event, yaml.CollectionStartEvent):
            begun.append((event.anchor, values))
            values += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = begun.pop()
            sizes[anchor] = values - before
        elif isinstance(event, yaml.AliasEvent):
            values += sizes.get(event.anchor, 1)
        elif isinstance(event, yaml.ScalarEvent):
            values += 1
        if values > MOST_VALUES:
            raise SupernetError(f"{path} has more than {MOST_VALUES:,} keys and values, aliases written out")


def _part(composed: DictConfig) -> dict[str, Any]:
    """Hydra's part as plain values."""
    part = OmegaConf.to_container(composed.hydra, resolve=False)
    assert isinstance(part, dict)
    return {str(key): value for key, value in part.items()}


def _differences(here: object, own: object, where: str) -> Iterator[str]:
    """`key=value` of what differs, the first below `where` first."""
    if isinstance(here, dict) and isinstance(own, dict):
        filled_in = _FILLED_IN.get(where, ())
        for key in [*here, *(key for key in own if key not in here)]:
            if key in filled_in:
                continue
            yield from _differences(here.get(key), own.get(key), f"{where}.{key}")
    elif here != own:
        yield f"{where}={short(str(here), 80)}"
