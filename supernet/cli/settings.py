"""From a command line to a configuration dataclass, by way of Hydra's composition.

The settings and their defaults have one source, the dataclasses that the stages name. Their defaults enter Hydra's
ConfigStore as plain mappings (`search_schema` ...), the YAML files of supernet/conf choose the parts, and what
was composed goes back into the dataclass, which names wrong keys, types and values.
"""

import copy
import dataclasses
import os
import warnings
from collections.abc import Sequence
from typing import TypeVar

from hydra import version
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import setup_globals
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from ..config import from_mapping
from ..errors import SupernetError
from ..stages import STAGES, Stage
from .foreign import Loader
from .shown_defaults import without_shown

__all__ = ["CONF", "compose", "loader_for", "register", "settings"]

C = TypeVar("C")
R = TypeVar("R")

CONF = "pkg://supernet.conf"


def register() -> None:
    """Enters the defaults of all stages' dataclasses into Hydra's ConfigStore; a second call changes nothing."""
    version.setbase("1.3")
    setup_globals()
    for name, stage in STAGES.items():
        if stage.config is not None:
            # Plain mappings: Hydra would make a frozen dataclass read-only, and then no override could enter it.
            ConfigStore.instance().store(f"{name}_schema", dataclasses.asdict(stage.config()), provider="supernet")


def loader_for(stage: str, config_dir: str | None = None, *, trusted: bool = False) -> Loader:
    """The loader of a stage with the search path that `hydra.main` will have; `config_dir` adds the user's own folder.

    Only where that is `trusted` its files may set Hydra's part.
    """
    path = create_config_search_path(CONF)
    if config_dir is not None:
        folder = os.path.abspath(config_dir)
        if not os.path.isdir(folder):
            raise SupernetError(
                f"--config-dir {config_dir!r} is no folder; give one that holds groups such as data/my.yaml"
            )
        path.prepend("command-line", f"file://{folder}", SearchPathQuery(provider="schema"))
    return Loader(path, stage=stage, trusted=trusted)


def compose(loader: Loader, name: str, overrides: Sequence[str]) -> DictConfig:
    """The composed configuration of one run, with Hydra's own part; raises Hydra's and OmegaConf's errors."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*is not available", category=UserWarning)
        return loader.load_configuration(name, list(overrides), RunMode.RUN)


def settings(stage: Stage[C, R], composed: DictConfig) -> C:
    """The dataclass of the stage with the composed values; raises SupernetError for those that it does not take.

    `composed` may still have Hydra's own part, which interpolations (`${hydra:job.num}`) then read.
    """
    if "hydra" not in composed:
        return _from(stage, composed)
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(composed)
    try:
        own = copy.deepcopy(composed)
        with open_dict(own):
            del own["hydra"]
        return _from(stage, own)
    finally:
        HydraConfig.instance().cfg = before


def _from(stage: Stage[C, R], own: DictConfig) -> C:
    if stage.config is None:
        raise TypeError(f"the stage {stage.name} has no settings")
    values = OmegaConf.to_container(own, resolve=True, throw_on_missing=True)
    if not isinstance(values, dict):
        raise TypeError(f"the settings of the stage {stage.name} are no group")
    named: dict[str, object] = {str(key): value for key, value in values.items()}
    if isinstance(data := named.get("data"), dict):
        named["data"] = without_shown(data)
    return from_mapping(stage.config, named)
