"""The settings of every stage: plain frozen dataclasses, the same for the command line and for notebooks.

Each class checks its own values on construction, before any data is touched; `from_mapping` turns nested mappings (a
composed Hydra configuration) into them and names unknown keys and wrong types.

A run is found by its settings (`runs/identity.py`), so a setting that comes later says so, or every run there is would
get another name: `field(default=..., metadata={"since": EDITION})`, and likewise for a changed default
`metadata={"was": {EDITION: the default before}}`, after EDITION in `editions.py` went up by one for the release.
"""

from .data import DataConfig
from .editions import EDITION
from .mapping import from_mapping
from .method import AlphaConfig, MethodConfig, WeightConfig
from .retrain import RecipeConfig, RetrainConfig, SpeedConfig
from .run import MAY_CHANGE, CheckpointConfig, GuardConfig, LogConfig, RunConfig
from .search import SearchConfig
from .space import SpaceConfig
from .stage import StageConfig

__all__ = [
    "EDITION", "MAY_CHANGE", "AlphaConfig", "CheckpointConfig", "DataConfig", "GuardConfig",
    "LogConfig", "MethodConfig", "RecipeConfig", "RetrainConfig", "RunConfig", "SearchConfig", "SpaceConfig",
    "SpeedConfig", "StageConfig", "WeightConfig", "from_mapping",
]  # fmt: skip
