"""Classes by import path in YAML: only where the caller allows it, and only modules."""

import random
import sys
import textwrap
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from supernet import Choice, Space, SupernetError
from supernet.network import build_from
from supernet.space.form import load_space, read_space, signature, write_space

BLOCKS = """
import os
from pathlib import Path

from torch import nn

import supernet
from supernet import Choice
from supernet.space.layers import Conv2d

Path(__file__).with_name("imported").touch()


class Fancy(nn.Module):
    def __init__(self, c, act="relu"):
        super().__init__()
        self.conv, self.act = Conv2d(c, c, 3), act

    def forward(self, x):
        return self.conv(x)


class Net(nn.Sequential):
    def __init__(self, width=4, *, num_classes=10):
        options = {"a": nn.Identity(), "b": nn.ReLU()}
        super().__init__(nn.Conv2d(3, width, 1), Choice(options), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(width, num_classes))


def boom(**_):
    raise SystemExit("called")


class Loud(nn.Module):
    def __init__(self, **_):
        raise RuntimeError("no\\nroom")
"""
NETWORK = """
schema: 1
name: mine
network:
  let: {width: {choice: [2, 4]}}
  body:
    - conv: {in_channels: 3, out_channels: width, kernel_size: 1}
    - {class: mine_yaml.blocks.Fancy, arguments: {c: width, act: gelu}}
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "mine_yaml"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "blocks.py").write_text(textwrap.dedent(BLOCKS))
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("mine_yaml", "mine_yaml.blocks"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield folder
    for name in ("mine_yaml", "mine_yaml.blocks"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    "allow", [(), ("mine",), ("mine_yaml.block",), ("mine_yaml.blocks.Fan",), ("blocks",), ("yaml",)]
)
def test_a_class_that_is_not_allowed_is_not_imported(package: Path, allow: tuple[str, ...]) -> None:
    with pytest.raises(SupernetError, match=r"would be imported.*space.allow=\[mine_yaml\]"):
        read_space(NETWORK, allow)
    assert not (package / "imported").exists()
    assert "mine_yaml" not in sys.modules


@pytest.mark.parametrize("allow", [("mine_yaml",), ("other", "mine_yaml.blocks"), ("mine_yaml.blocks.Fancy",)])
def test_an_allowed_class_takes_values(package: Path, allow: tuple[str, ...]) -> None:
    space = read_space(NETWORK, allow)
    net = build_from(space, space.genotype({"width": "2"}))
    fancy = net.get_submodule("1")
    assert (fancy.act, type(fancy.conv), fancy.conv.out_channels) == ("gelu", nn.Conv2d, 2)
    assert net(torch.randn(1, 3, 4, 4)).shape == (1, 2, 4, 4)
    assert write_space(read_space(write_space(space), allow)) == write_space(space)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("mine_yaml.blocks.boom", "no subclass of torch.nn.Module"),
        ("mine_yaml.blocks.os", "no subclass"),
        ("mine_yaml.blocks.os.system", "cannot import"),
        ("mine_yaml.blocks.supernet.demo.main", "cannot import"),
        ("mine_yaml.blocks.Fancyy", "cannot import"),
        ("mine_yaml.nothing.Fancy", "cannot import"),
        ("mine_yaml.blocks.Loud", "Loud.*RuntimeError: 'no.*room'"),
        ("mine_yaml..blocks", "must be the import path"),
        ("mine_yaml.blocks.Fancy()", "must be the import path"),
    ],
)
def test_what_an_allowed_path_may_not_be(package: Path, path: str, message: str) -> None:
    with pytest.raises(SupernetError, match=message) as caught:
        read_space(NETWORK.replace("mine_yaml.blocks.Fancy", path), ["mine_yaml"])
    assert "\n" not in str(caught.value)


def test_a_network_in_python_is_checked_against_its_written_tree(package: Path, tmp_path: Path) -> None:
    sys.path_importer_cache.clear()
    from mine_yaml.blocks import Net

    space = Space(partial(Net, 6), name="own", args={"width": 6})
    text = write_space(space)
    assert "class: mine_yaml.blocks.Net\narguments: {width: 6}" in text
    (tmp_path / "own.yaml").write_text(text)
    again = load_space(tmp_path / "own.yaml", allow=["mine_yaml"])
    assert signature(again) == signature(space)
    assert build_from(again, again.sample(random.Random(0)), num_classes=3)[0].out_channels == 6
    with pytest.raises(SupernetError, match="own.yaml: class: 'mine_yaml.blocks.Net' would be imported"):
        load_space(tmp_path / "own.yaml")
    with pytest.raises(SupernetError, match=r"has changed since.*options\[1\] is 'c' here and 'b' there"):
        read_space(text.replace("[a, b]", "[a, c]"), ["mine_yaml"])
    with pytest.raises(SupernetError, match="decisions has 2 entries here and 1 there"):
        read_space(text + "- one_of: more\n  options: [x]\n", ["mine_yaml"])
    with pytest.raises(SupernetError, match="argument of class mine_yaml.blocks.Net: 'widht'; did you mean 'width'"):
        read_space(text.replace("width: 6}\ndecisions", "widht: 6}\ndecisions"), ["mine_yaml"])


def test_code_without_an_import_path_has_no_yaml_form() -> None:
    class Local(nn.Sequential):
        def __init__(self) -> None:
            super().__init__(Choice({"a": nn.Identity(), "b": nn.ReLU()}))

    for factory in (Local, lambda: Local()):
        with pytest.raises(SupernetError, match="no class with an import path"):
            write_space(Space(factory, name="local"))


@pytest.mark.parametrize("allow", ["mypkg", [1], ["a b"], ["os.system()"], [""]])
def test_allow_is_a_list_of_prefixes(allow: object) -> None:
    with pytest.raises(SupernetError, match="allow"):
        read_space(NETWORK, allow)  # type: ignore[arg-type]


def test_the_zoo_is_always_allowed_and_nothing_else_of_this_package() -> None:
    for path in ("supernet.demo.main", "supernet.network.supernet.Supernet", "supernet.space.zoo.darts.TopKCells"):
        with pytest.raises(SupernetError, match=r"would be imported|no subclass"):
            read_space(NETWORK.replace("mine_yaml.blocks.Fancy", path))
    text = "schema: 1\nname: x\nclass: supernet.space.zoo.timm_width.timm_resnet_width\ndecisions: []"
    with pytest.raises(SupernetError, match="makes the space 'timm_resnet_width'"):
        read_space(text)
