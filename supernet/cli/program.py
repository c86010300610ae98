"""One Hydra program a stage: check the command line first, then hand over to Hydra's own main.

Sweeps (`-m`), `--cfg`, `--info`, `--help` and tab completion are Hydra's. It composes the settings again, from a
command line that is known to be good.
"""

import logging
import os
import sys
from collections.abc import Sequence

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode, TaskFunction
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from ..errors import SupernetError
from ..stages import AnyStage
from .children import as_child, child_name
from .exit_codes import guarded, one_line
from .foreign import loading
from .inherit import Inherited, inherited_by, joined, without
from .run_stage import perform, prepare
from .settings import CONF, register, settings
from .validate import check, trusts, without_trust

__all__ = ["child_name", "run_program"]

log = logging.getLogger(__name__)


def run_program(stage: AnyStage, argv: Sequence[str]) -> int:
    """Run the stage with these arguments; raises SupernetError for a mistake in them, SystemExit as Hydra does."""
    register()
    inherited = inherited_by(stage, argv)
    argv = joined(stage.overrides(argv), inherited.words)
    checked = check(stage, argv)
    if checked.runs:
        for config in checked.configs:
            prepare(stage, config)
    main = hydra.main(version_base="1.3", config_path=CONF, config_name=stage.name)(_task(stage, argv, inherited))
    before, full = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = [f"supernet-{stage.name}", *without_trust(argv)]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra's main then raises what went wrong instead of printing its own text
    try:
        with loading(stage.name, trusted=trusts(argv), shown=not checked.runs):
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


def _task(stage: AnyStage, argv: Sequence[str], inherited: Inherited) -> TaskFunction:
    """What Hydra calls for each run; it returns the metric that sweepers ask for."""

    def task(composed: DictConfig) -> float | None:
        metric: list[float | None] = [None]

        def work() -> int:
            config = settings(stage, composed)
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                config = as_child(stage, config, without(HydraConfig.get().overrides.task, inherited.words), argv)
            if inherited.note and os.environ.get("RANK", "0") == "0":
                log.info("%s", inherited.note)
            metric[0] = perform(stage, config)
            return 0

        # Hydra would print a text of its own about an exception; it lets SystemExit pass.
        if code := guarded(work):
            raise SystemExit(code)
        return metric[0]

    return task
