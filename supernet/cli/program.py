"""One Hydra program a stage: check the command line first, then hand over to Hydra's own main.

Sweeps (`-m`), `--cfg`, `--info`, `--help` and tab completion are Hydra's. It composes the settings again, from a
command line that is known to be good.
"""

import hashlib
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode, TaskFunction
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from ..errors import SupernetError
from ..files import slug
from ..stages import AnyStage
from .exit_codes import guarded, one_line
from .foreign import loading
from .run_stage import perform, prepare
from .settings import CONF, register, settings
from .validate import check, trusts, without_trust

__all__ = ["child_name", "run_program"]

# Overrides that do not name the children of a sweep, because they change no number.
_NOT_NAMING = re.compile(r"[+~]*(run|device|checkpoint|log|guard|hydra)([./=]|$)|data\.(root|download|workers)=")


def run_program(stage: AnyStage, argv: Sequence[str]) -> int:
    """Run the stage with these arguments; raises SupernetError for a mistake in them, SystemExit as Hydra does."""
    register()
    argv = stage.overrides(argv)
    checked = check(stage, argv)
    if checked.runs:
        for config in checked.configs:
            prepare(stage, config)
    main = hydra.main(version_base="1.3", config_path=CONF, config_name=stage.name)(_task(stage))
    before, full = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = [f"supernet-{stage.name}", *without_trust(argv)]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra's main then raises what went wrong instead of printing its own text
    try:
        with loading(stage.name, trusted=trusts(argv)):
            main()
    except (HydraException, OmegaConfBaseException) as error:
        raise SupernetError(one_line(error)) from None
    except (ValueError, KeyError) as error:
        if checked.runs:
            raise
        raise SupernetError(f"Hydra cannot show this: {one_line(error)}") from None  # such as `-sc` without a command
    finally:
        sys.argv = before
        os.environ.pop("HYDRA_FULL_ERROR")
        if full is not None:
            os.environ["HYDRA_FULL_ERROR"] = full
    return 0


def _task(stage: AnyStage) -> TaskFunction:
    """What Hydra calls for each run; it returns the metric that sweepers ask for."""

    def task(composed: DictConfig) -> float | None:
        metric: list[float | None] = [None]

        def work() -> int:
            config = settings(stage, composed)
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                config = _as_child(stage, config)
            metric[0] = perform(stage, config)
            return 0

        # Hydra would print a text of its own about an exception; it lets SystemExit pass.
        if code := guarded(work):
            raise SystemExit(code)
        return metric[0]

    return task


def _as_child(stage: AnyStage, config: Any) -> Any:
    """`config` with the name of its run folder as one of a sweep, where the stage has run folders and none is set."""
    if stage.label is None or config.run.name is not None:
        return config
    name = child_name(stage.name, list(HydraConfig.get().overrides.task))
    return replace(config, run=replace(config.run, name=name))


def child_name(stage: str, overrides: Sequence[str]) -> str:
    """The folder of a sweep's child: its overrides, sorted, so that the same sweep finds it again."""
    naming = sorted(line for line in overrides if not _NOT_NAMING.match(line))
    text = "-".join([stage, *naming])
    name = slug(text, len(text))
    if name == text.replace("=", "-") and len(name) <= 120:
        return name
    return f"{name[:100]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
