"""Hydra's launchers: the example of each parses, and joblib's starts two jobs that a second command finds finished."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from supernet.cli.settings import register
from supernet.cli.validate import check
from supernet.errors import SupernetError
from supernet.stages import STAGES

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "clusters"
# Option of hydra/launcher, and which of its settings (with those below them) the plugin's documentation lists.
LAUNCHERS = {
    "joblib": ("joblib", {"n_jobs", "backend", "prefer", "require", "verbose", "timeout", "pre_dispatch"}),
    "submitit": (
        "submitit_slurm",
        {"timeout_min", "cpus_per_task", "gpus_per_node", "mem_gb", "array_parallelism", "max_num_timeout"},
    ),
    "ray": ("ray", {"ray.init.address", "ray.remote.num_cpus", "ray.remote.num_gpus"}),
}


def flat(value: dict, where: str = "") -> set[str]:
    found = set()
    for key, item in value.items():
        found |= flat(item, f"{where}{key}.") if isinstance(item, dict) else {f"{where}{key}"}
    return found


def test_every_example_is_documented() -> None:
    files = {path.stem for path in (EXAMPLES / "cluster").glob("*.yaml")}
    assert files == set(LAUNCHERS)
    text = (EXAMPLES.parent / "clusters.md").read_text()
    assert all(f"clusters/cluster/{name}.yaml" in text for name in files)


@pytest.mark.parametrize("name", LAUNCHERS)
def test_an_example_chooses_its_launcher(name: str) -> None:
    text = (EXAMPLES / "cluster" / f"{name}.yaml").read_text()
    launcher, settings = LAUNCHERS[name]
    loaded = yaml.safe_load(text)
    assert text.startswith("# @package _global_")
    assert f"+cluster={name}" in text
    assert loaded["defaults"] == [{"override /hydra/launcher": launcher}]
    assert loaded.keys() == {"defaults", "hydra"}
    assert flat(loaded["hydra"]["launcher"]) <= settings


def _joblib() -> None:
    if importlib.util.find_spec("hydra_plugins") is None or not importlib.util.find_spec(
        "hydra_plugins.hydra_joblib_launcher"
    ):
        pytest.skip("hydra-joblib-launcher is not installed: pip install 'supernet[sweep]'")


def test_the_joblib_example_composes() -> None:
    _joblib()
    register()
    checked = check(STAGES["search"], ["-m", "-cd", str(EXAMPLES), "--trust", "+cluster=joblib", "seed=0,1"])
    assert checked.runs
    assert [config.seed for config in checked.configs] == [0, 1]
    with pytest.raises(SupernetError, match="--trust"):
        check(STAGES["search"], ["-m", "-cd", str(EXAMPLES), "+cluster=joblib", "seed=0,1"])
    assert check(STAGES["search"], ["-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=0"]).runs


@pytest.mark.long
def test_joblib_starts_two_jobs_and_finds_them_again(tmp_path: Path, root: Path) -> None:
    _joblib()
    command = [
        sys.executable, "-m", "supernet", "search", "-m", "-cd", str(EXAMPLES), "--trust", "+cluster=joblib",
        "seed=0,1", "epochs=1", "batch_size=10", "data.limit=40", "log.progress=false", "log.tensorboard=false",
        "space.args.nodes=2", "network.channels=2", "network.layers=3", "device=cpu", f"run.root={tmp_path}",
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{root}:{os.environ.get('PYTHONPATH', '')}"}
    for _ in range(2):
        ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=110)
        assert ended.returncode == 0, ended.stderr
        results = sorted(tmp_path.glob("search-*/result.json"))
        assert len(results) == 2
        assert ended.stdout.count("run folder") == 2
        times = [path.stat().st_mtime_ns for path in results]
    assert times == [path.stat().st_mtime_ns for path in results]
    assert "run folder:" not in ended.stderr, "finished runs are not run again"
