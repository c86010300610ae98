"""Spaces written in YAML: equal to their Python forms, read back as they were written, strict about what they hold."""

import random
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn

import supernet
from supernet import Choice, Space, Supernet, SupernetError
from supernet.network import build_from
from supernet.space import SPACES, Integer, KOf, OneOf, get_space
from supernet.space.form import load_space, parse_space, read_space, signature, write_space
from supernet.space.form.builder import HEADS
from supernet.space.form.strict import read_yaml, scalar, write_yaml

FORMS = Path(supernet.space.__file__).parent / "zoo" / "forms"
NAMES = sorted(SPACES)
# Arguments that make the networks small, for both forms of those that are written part by part.
SMALL = {
    "autoformer_tiny": {"image_size": 8},
    "mobilenetv3_like": {"channels": 4, "features": 8},
    "nas_bench_macro": {"channels": 4, "features": 8},
}


@cache
def python(name: str) -> Space:
    return get_space(name)


@cache
def written(name: str) -> Space:
    return load_space(FORMS / f"{name}.yaml")


def document(body: str, let: str = "", more: str = "") -> str:
    """A space file of a network with this `body` and these terms, both in flow style."""
    return f"schema: 1\nname: mine\nnetwork:\n  arguments: {{c: 4}}\n  let: {{{let}}}\n  body: {body}\n{more}"


@pytest.mark.parametrize("name", NAMES)
def test_each_space_of_the_zoo_has_its_yaml_form(name: str) -> None:
    """Equal signatures, and equal encodings and hashes of sampled points."""
    one, other = python(name), written(name)
    assert signature(other) == signature(one)
    assert (other.size, other.tables, other.macro) == (one.size, one.tables, one.macro)
    for i in range(5):
        genotype = one.sample(random.Random(i))
        assert other.sample(random.Random(i)) == genotype
        assert other.encode(genotype) == one.encode(genotype)
        assert other.hash(genotype) == one.hash(genotype)
        assert other.canonical_hash(genotype) == one.canonical_hash(genotype)


def test_no_form_is_left_over() -> None:
    assert sorted(path.stem for path in FORMS.iterdir()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_writing_and_reading_is_the_identity(name: str) -> None:
    for space in (python(name), written(name)):
        text = write_space(space)
        again = parse_space(text).build()
        assert signature(again) == signature(space)
        assert write_space(again) == text


@pytest.mark.parametrize("name", sorted(SMALL))
def test_written_networks_compute_what_those_in_python_do(name: str) -> None:
    """The same names of weights, and with equal weights the same outputs, in float64."""
    x = torch.randn(2, 3, SMALL[name].get("image_size", 16), SMALL[name].get("image_size", 16), dtype=torch.float64)
    genotype = python(name).sample(random.Random(1))
    spaces = python(name), written(name)
    one, other = (build_from(s, genotype, seed=0, **SMALL[name]).double().eval() for s in spaces)
    assert {k: v.shape for k, v in one.state_dict().items()} == {k: v.shape for k, v in other.state_dict().items()}
    other.load_state_dict(one.state_dict())
    torch.testing.assert_close(other(x), one(x), rtol=1e-9, atol=1e-9)


def test_a_changed_copy_has_another_signature() -> None:
    text = (FORMS / "nasbench201.yaml").read_text().replace("name: nasbench201", "name: mine").replace("args:", "#")
    base = signature(read_space(text))
    changes = [("name: mine", "name: yours"), ("version: 1", "version: 2"), ("nodes: 3", "nodes: 2"), ("[cell]", "[c]")]
    changes += [
        ("  operations: [none, skip_connect,", "  operations: [skip_connect, none,"),
        ("macro: nasbench201", "macro: darts"),
    ]
    seen = {base} | {signature(read_space(text.replace(*change, 1))) for change in changes}
    assert len(seen) == 7
    trees = [
        [OneOf("a", {"x": (), "y": ()})],
        [OneOf("a", {"y": (), "x": ()})],
        [OneOf("a", {"x": (), "y": ()}, default="y")],
        [OneOf("a", {"x": (), "y": ()}, mark="searchable")],
        [OneOf("a", {"x": (), "y": ()}, group="g")],
        [KOf("a", {"x": (), "y": ()}, k=1)],
        [OneOf("a", {"x": (OneOf("b", {"z": ()}),), "y": ()})],
        [Integer("a", 0, 1)],
        [Integer("a", 0, 1, default="1")],
    ]
    assert len({signature(Space(tree, name="t")) for tree in trees}) == len(trees)
    assert signature(Space(trees[0], name="t")) == signature(
        Space([OneOf("a", {"x": (), "y": ()}, default="x")], name="t")
    )


def test_a_registered_name_cannot_be_redefined() -> None:
    text = (FORMS / "darts.yaml").read_text()
    with pytest.raises(SupernetError, match="'darts' is a registered space with other decisions"):
        read_space(text.replace("keep: 2", "keep: 1"))
    with pytest.raises(SupernetError, match="registered space; choose another name"):
        read_space(text.replace("nodes: 4", "nodez: 4", 1))


TREE = """
schema: 1
name: tree
decisions:
- one_of: op
  options: [conv, pool]
  mark: searchable
  default: pool
  below:
    conv:
    - {integer: kernel, low: 3, high: 7, step: 2, below: {"5": [{one_of: bias, options: ["yes", "no"]}]}}
    - {k_of: inputs, k: 2, options: ["0", "1", "2"], group: ins}
"""


def test_a_bare_tree() -> None:
    space = read_space(TREE)
    conv = (
        Integer("kernel", 3, 7, 2, opens={"5": (OneOf("bias", {"yes": (), "no": ()}),)}),
        KOf("inputs", {"0": (), "1": (), "2": ()}, k=2, group="ins"),
    )
    wanted = Space([OneOf("op", {"conv": conv, "pool": ()}, mark="searchable", default="pool")], name="tree")
    assert signature(space) == signature(wanted)
    assert (space.size, space.macro) == (13, "")
    assert signature(read_space(write_space(wanted))) == signature(wanted)


def test_values_are_one_decision_wherever_they_are_used() -> None:
    body = """{seq: {a: {conv: {in_channels: 3, out_channels: width, kernel_size: {choice: {from: 3, to: 7, step: 2}}}},
      n: {norm: width}, b: {conv: {in_channels: width, out_channels: {mul: [width, 2]}, kernel_size: 1}},
      r: {repeat: {count: {choice: [1, 2]}, of: {residual: {norm: {mul: [width, 2]}}}}},
      p: {pool: global}, h: {linear: {in_features: {mul: [width, 2]}, out_features: c}}}}"""
    space = read_space(document(body, let="width: {choice: [4, 8]}"))
    assert [(d.name, list(d.options)) for d in space.root] == [
        ("width", ["4", "8"]), ("a/kernel_size", ["3", "5", "7"]), ("r/count", ["1", "2"]),
    ]  # fmt: skip
    net = build_from(space, space.sample(random.Random(0)), c=7)
    assert net(torch.randn(2, 3, 8, 8)).shape == (2, 7)
    assert not any(isinstance(m, Choice) for m in net.modules())


def test_settings_of_choices() -> None:
    body = """{seq: {a: {choice: {x: identity, y: {activation: relu}}, share: s, mark: searchable, default: y},
      b: {choice: {x: identity, y: {activation: relu}}, share: s, mark: searchable, default: y},
      c: {choice: [identity, {activation: gelu}, {activation: silu}], k: 2},
      d: {activation: {choice: [relu, tanh], mark: fixed, default: tanh}}}}"""
    space = read_space(document(body))
    assert [(type(d), d.name, d.mark, d.default) for d in space.root] == [
        (KOf, "c", "trainable", ""), (OneOf, "s", "searchable", "y"),
    ]  # fmt: skip
    x = torch.tensor([[-1.0, 2.0]])
    net = build_from(space, space.genotype({"c": ("0", "1"), "s": "x"}))
    torch.testing.assert_close(net(x), (x + nn.functional.gelu(x)).tanh())


def test_parts_stand_together_as_they_say() -> None:
    x = torch.randn(2, 4, 6, 6)
    cases = {
        "[{residual: {activation: relu}}]": x + x.relu(),
        "[{residual: {activation: relu}, shortcut: {activation: tanh}}]": x.tanh() + x.relu(),
        "{seq: {a: {activation: relu}, b: {activation: tanh}}, residual: true}": x + x.relu().tanh(),
        "[{parallel: [identity, {activation: relu}]}]": x + x.relu(),
        "[{parallel: {a: identity, b: {activation: relu}}, join: concat}]": torch.cat([x, x.relu()], 1),
        "[{gate: {activation: sigmoid}}]": x * x.mean((2, 3), keepdim=True).sigmoid(),
        "[{pool: max, kernel_size: 3, stride: 2}]": nn.functional.max_pool2d(x, 3, 2, 1),
        "[{pool: global}]": x.mean((2, 3)),
        "[tokens, {pool: global}]": x.mean((2, 3)),
        "[flatten]": x.flatten(1),
        "[{dropout: 0.5}]": x,
        "[{repeat: {count: 2, first: {activation: tanh}, of: {activation: relu}}}]": x.tanh().relu(),
        "[{ref: twice, with: {act: tanh}}]": x.tanh().tanh(),
    }
    for body, wanted in cases.items():
        let = "twice: [{activation: act}, {activation: act}]" if "twice" in body else ""
        choice = f"{{seq: {{a: {{choice: {{x: identity, y: {{activation: relu}}}}}}, b: {body}}}}}"
        space = read_space(document(choice, let))
        torch.testing.assert_close(build_from(space, space.genotype({"a": "x"})).eval()(x), wanted, msg=body)


def test_operations_and_arithmetic() -> None:
    body = """[{op: sep_conv_3x3, c_in: c, c_out: {sub: [{mul: [c, 3]}, 2]}, stride: 2, affine: false},
      {conv: {in_channels: {add: [c, 4, 2]}, out_channels: {rounded: [{floordiv: [{mul: [c, 1.5, 9]}, 3]}, 8]},
      kernel_size: {choice: [1, 3]}}}]"""
    net = build_from(space := read_space(document(body)), space.sample(random.Random(0)))
    assert net(torch.randn(1, 4, 8, 8)).shape == (1, 24, 4, 4)


def test_a_supernet_of_a_written_space_agrees_with_its_discrete_network() -> None:
    layer = "{in_channels: 3, out_channels: {choice: [4, 6]}, kernel_size: {choice: [1, 3]}}"
    space = read_space(document(f"[{{conv: {layer}}}]"))
    net, x = Supernet(space, seed=0).double(), torch.randn(2, 3, 6, 6, dtype=torch.float64)
    for genotype in space.points():
        net.activate(genotype)
        plain, _ = net.discretize(genotype)
        torch.testing.assert_close(net(x), plain(x), rtol=1e-9, atol=1e-9)


def test_strict_scalars() -> None:
    words = {"yes": "yes", "on": "on", "1:30": "1:30", "2026-01-01": "2026-01-01", "007": "007", "0x1F": "0x1F"}
    found = read_yaml("\n".join(f"{key!r}: {value}" for key, value in words.items()))
    assert found == words
    assert [scalar(t) for t in ("1", "-2", "1.5", "1e3", ".5", "true", "~", "")] == [
        1,
        -2,
        1.5,
        1e3,
        0.5,
        True,
        None,
        None,
    ]
    hard = {"true": "true", "1": ["1e3", "1", 1, 1.0, None, False], "": "", "a: b": "# c\n", "é\u2028": "\t", "~": "~"}
    assert read_yaml(write_yaml(hard)) == hard


def test_a_space_file_is_known_by_its_content() -> None:
    text = (FORMS / "s2.yaml").read_text()
    assert (
        parse_space(text).digest == parse_space("# another comment\n" + text.replace("nodes: 4", "nodes:   4")).digest
    )
    assert parse_space(text).digest != parse_space(text.replace("keep: 2", "keep: 1")).digest


def test_the_examples_of_the_page_are_read() -> None:
    page = FORMS.parents[3] / "docs" / "spaces.md"
    if not page.is_file():
        pytest.skip("an installed package has no docs")
    examples = [part.partition("```")[0] for part in page.read_text().split("```yaml\n")[1:]]
    spaces = [Space.from_yaml(text) for text in examples]
    assert [space.name for space in spaces] == ["two_nodes", "small_net", "inner_let", "terms", "tree"]
    assert all(signature(Space.from_yaml(space.to_yaml())) == signature(space) for space in spaces)
    for space in spaces[1:3]:
        net = build_from(space, space.sample(random.Random(0)))
        assert net(torch.randn(2, 3, 8, 8)).isfinite().all()
    assert all(f"`{head}" in page.read_text() for head in HEADS)


def test_a_path_and_a_text_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "tree.yaml").write_text(TREE)
    for source in (TREE, tmp_path / "tree.yaml", str(tmp_path / "tree.yaml")):
        assert Space.from_yaml(source).name == "tree"
