"""The help of stages and the page of all settings: one source, nothing left out."""

import dataclasses
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from supernet.cli import STAGES, main
from supernet.cli.stage_help import groups_of
from supernet.config.explain import explained

WITH_SETTINGS = [stage for stage in STAGES.values() if stage.config is not None]


def leaves(config: type, prefix: str = "") -> list[str]:
    """The dotted names of all settings, by their values: another way than the one under test."""
    names: list[str] = []
    for field in dataclasses.fields(config):
        value = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
        nested = dataclasses.is_dataclass(value)
        names += leaves(type(value), f"{prefix}{field.name}.") if nested else [prefix + field.name]
    return names


@pytest.mark.parametrize("stage", WITH_SETTINGS, ids=lambda stage: stage.name)
def test_every_setting_is_explained(stage: object, capsys: pytest.CaptureFixture[str]) -> None:
    settings = list(explained(stage.config))  # type: ignore[attr-defined]
    assert [setting.name for setting in settings] == leaves(stage.config)  # type: ignore[attr-defined]
    assert [setting.name for setting in settings if not setting.text] == []
    assert main([stage.name, "--help"]) == 0  # type: ignore[attr-defined]
    out = capsys.readouterr().out
    for setting in settings:
        assert f"  {setting.name}={setting.default}" in out


def test_comments_are_read_where_they_stand() -> None:
    texts = {setting.name: setting for setting in explained(STAGES["search"].config)}  # type: ignore[arg-type]
    assert texts["data.pad"].text == "pixels of zero padding before the random crop"
    assert texts["dead_cells"].text.startswith("of a genotype whose output"), "the lines above a field"
    assert (texts["data.root"].default, texts["deterministic"].default) == ("null", "false")


def test_a_stage_lists_its_own_parts(capsys: pytest.CaptureFixture[str]) -> None:
    assert groups_of("search") == ["space", "data", "method", "experiment"]
    assert groups_of("retrain") == ["network", "data", "recipe", "experiment"]
    assert main(["search", "--help"]) == 0
    out = capsys.readouterr().out
    assert "darts_cifar10_search" in out
    assert "darts_cifar10_retrain" not in out
    assert "timm_modern" not in out, "a recipe is no part of a search"


def test_the_demonstration_has_a_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--help"]) == 0
    assert "supernet demo fresh" in capsys.readouterr().out


def test_the_page_of_settings_is_what_the_settings_say(root: Path) -> None:
    spec = spec_from_file_location("make_settings", root / "docs" / "make_settings.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    page = (root / "docs" / "settings.md").read_text(encoding="utf-8")
    assert page == module.page(), "make pages writes it anew"


@pytest.mark.long
def test_help_needs_neither_torch_nor_hydra() -> None:
    code = "import sys; from supernet.cli import main; main(['search', '--help'])\n"
    code += "assert not {'torch', 'hydra'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
