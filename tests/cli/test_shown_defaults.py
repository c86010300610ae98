"""`--cfg job` shows the augmentation in use as values; what it shows reads as not set, so that no run is renamed."""

from pathlib import Path

import pytest
import yaml
from PIL import Image

from supernet.cli import main
from supernet.cli.settings import register
from supernet.cli.shown_defaults import without_shown
from supernet.cli.validate import check
from supernet.config import DataConfig
from supernet.data import DATASETS, open_data
from supernet.data.standard import BY_TASK, STANDARD, standard
from supernet.data.torchvision_named import NAMED
from supernet.errors import SupernetError
from supernet.stages import STAGES

KEYS = ("flip", "pad", "cutout")


def shown(line: str, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    assert main([*line.split(), "--cfg", "job"]) == 0
    data = yaml.safe_load(capsys.readouterr().out)["data"]
    assert isinstance(data, dict)
    return data


@pytest.mark.parametrize(
    ("line", "texts"),
    [
        ("search data=folder", ("true (default)", "4 (default)", "16 (default)")),
        ("search data.name=folder data.flip=false data.pad=null", (False, "4 (default)", "16 (default)")),
        ("retrain data=digits data.cutout=0", ("false (default)", "1 (default)", 0)),
        ("search data.name=torch/kmnist", ("true for colour, false for grey (default)", "4 (default)", "0 (default)")),
        (
            "search data=csv",
            (
                "true, false for regression (default)",
                "4, 0 for regression (default)",
                "16, 0 for segmentation, 0 for regression (default)",
            ),
        ),
        ("search space=darts_rnn data=text", (None, None, None)),
    ],
)
def test_defaults_are_values(line: str, texts: tuple[object, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert tuple(shown(line, capsys)[key] for key in KEYS) == texts


def test_what_is_shown_is_not_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Pasted into a file of one's own it is the same run, and a value that is no default is refused."""
    data = shown("search data=folder data.root=mine", capsys)
    (tmp_path / "conf" / "data").mkdir(parents=True)
    (tmp_path / "conf" / "data" / "my.yaml").write_text(yaml.safe_dump(data))
    register()
    search = STAGES["search"]
    (pasted,) = check(search, ["-cd", str(tmp_path / "conf"), "data=my"]).configs
    (typed,) = check(search, ["data=folder", "data.root=mine"]).configs
    assert pasted == typed
    assert typed.data == DataConfig(name="folder", root="mine", image_size=64, kwargs={"crop_scale": None})
    with pytest.raises(SupernetError, match=r"data.pad='3 \(default\)' must be of type int or null"):
        check(search, ["data=folder", "data.pad='3 (default)'"])
    other = {"name": "folder", "root": "x (default)", "pad": "1 (default)"}
    assert without_shown(other) == other


def test_it_is_what_the_data_have(tmp_path: Path) -> None:
    """The table is read by the entries themselves; each entry of pictures has a row."""
    assert {*STANDARD, *BY_TASK} == set(DATASETS) - {"text"}
    for name in ("a", "b"):
        (tmp_path / "train" / name).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (8, 8)).save(tmp_path / "train" / name / f"{number}.png")
    augments = {name: entry.augment for name, entry in NAMED.items()}
    augments["folder"] = open_data(DataConfig(name="folder", root=str(tmp_path)), 0).augment
    for name in ("digits", "cluttered_digits"):
        augments[name] = open_data(DataConfig(name=name), 0).augment
    assert set(augments) == set(STANDARD) - {"timm"}
    for name, augment in augments.items():
        assert {key: getattr(augment, key) for key in KEYS} == STANDARD[name], name
    assert [standard("timm", channels)["flip"] for channels in (1, 3)] == [False, True]
    mnist = {"flip": False, "pad": 4, "cutout": 0}
    assert STANDARD["mnist"] == mnist and STANDARD["cifar10"] == {"flip": True, "pad": 4, "cutout": 16}
