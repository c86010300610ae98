"""Genotypes: what is written is read back, and a hostile file is one line of error, soon, with nothing executed."""

import copy
import json
import pickle
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from supernet.errors import GenotypeError, SupernetError
from supernet.network import build
from supernet.space import Genotype, get_space, published, space_of

GOOD: dict[str, Any] = json.loads(published("DARTS_V2").to_json())
POINT = get_space("nasbench201").sample(random.Random(0))
FLAT: dict[str, Any] = json.loads(POINT.to_json())
OPS = GOOD["args"]["operations"]
LONGEST = 500  # characters of a message


def attempt(text: str) -> None:
    """What a user's command does with a genotype file."""
    genotype = Genotype.from_json(text)
    space_of(genotype)
    with torch.device("meta"):
        build(genotype, channels=2)


def refuse(text: str) -> None:
    """One line of SupernetError within two seconds."""
    start = time.perf_counter()
    with pytest.raises(SupernetError) as error:
        attempt(text)
    assert time.perf_counter() - start < 2
    check_message(error.value)


def check_message(error: Exception) -> None:
    """One line that fits a terminal, without the chain of what was caught underneath."""
    message = str(error)
    assert 0 < len(message) <= LONGEST and len(message.splitlines()) == 1, message[:2000]
    assert error.__cause__ is None


def changed(base: dict[str, Any] = GOOD, **fields: Any) -> str:
    return json.dumps({**base, **fields})


def decided(key: str, value: Any, base: dict[str, Any] = GOOD) -> str:
    return changed(base, decisions={**base["decisions"], key: value})


def with_args(**args: Any) -> str:
    return changed(args={**GOOD["args"], **args})


FIRST = "normal/node2/inputs"
ODD: dict[str, Any] = {
    "null": None, "true": True, "false": False, "zero": 0, "negative": -1, "float": 1.5, "huge": 10**4000,
    "empty": "", "text": "x", "newlines": "a\nb\r\n\u2028c", "nul": "\0", "surrogate": "\ud800", "long": "x" * 100_000,
    "list": [], "nested list": [["none"]], "list of null": [None], "list of numbers": [1, 2, 3], "object": {},
    "reduce": {"__reduce__": ["os.system", "touch canary"]}, "target": {"_target_": "os.system", "_args_": ["id"]},
    "path": "../../../../etc/passwd", "code": "__import__('os').system('touch canary')", "list of empty": ["", ""],
    "yaml": "!!python/object/apply:os.system ['id']", "template": "${oc.env:HOME}", "format": "{0.__class__}%s%n",
    "list of slashes": ["a/b", "/"], "list of long": ["x" * 100_000], "list of objects": [{"a": 1}],
    "deep": [[[["a"]]]],
}  # fmt: skip
TEXTS = {
    "nothing": "",
    "space": " ",
    "null": "null",
    "number": "1",
    "string": '"darts"',
    "list": "[]",
    "object": "{}",
    "cut": changed()[:-5],
    "two": changed() + changed(),
    "comment": "// x\n" + changed(),
    "single quotes": "{'a': 1}",
    "python": "__import__('os').system('touch canary')",
    "pickle": "cos\nsystem\n(S'touch canary'\ntR.",
    "yaml": "!!python/object/apply:os.system ['touch canary']",
    "byte order mark": "\ufeff" + changed(),
    "nul": "\0",
    "deep lists": "[" * 10_000 + "]" * 10_000,
    "deep objects": '{"a":' * 10_000 + "1" + "}" * 10_000,
    "deep open": "[" * 100_000,
    "million": "[" * 999_999,
    "too long": " " * 1_000_001,
    "digits": "1" * 900_000,
    "long version": changed().replace('"version": 1', '"version": ' + "9" * 100_000),
    "many digits": changed().replace('"version": 1', '"version": ' + "9" * 4_000),
    "open string": '"' + '\\"' * 490_000,
    "many strings": '""' * 490_000,
    "backslashes": '"' + "\\" * 900_000,
    "nan version": changed().replace('"version": 1', '"version": NaN'),
    "infinite version": changed().replace('"version": 1', '"version": 1e999'),
    "nan origin": changed(origin={"x": float("nan")}),
    "infinite origin": changed(origin={"x": float("-inf")}),
    "overflow in args": changed().replace('"nodes": 4', '"nodes": 1e999'),
    "repeated field": changed()[:-1] + ', "space": "darts"}',
    "repeated decision": changed().replace('"decisions": {', '"decisions": {"a": "b", "a": "b", '),
    "repeated in origin": changed().replace('"origin": {', '"origin": {"a": 1, "a": 1, '),
    "many keys": changed(decisions={f"k{i}": "v" for i in range(50_000)}),
    "many decisions": changed(decisions=GOOD["decisions"] | {f"k{i}": "v" for i in range(40_000)}),
    "unknown field": changed(extra=1),
    "target": changed(_target_="os.system"),
    "reduce": changed(__reduce__=["os"]),
    "class": changed(__class__="x"),
    "near field": changed(decision={}),
    "newline field": changed(**{"a\nb": 1}),
    "long field": changed(**{"x" * 500_000: 1}),
    "other version": changed(version=2),
    "schema": changed(schema=2),
    "schema text": changed(schema="1"),
    "schema float": changed(schema=1.0),
    "schema true": changed(schema=True),
    "unknown space": changed(space="dartz"),
    "module space": changed(space="os.system"),
    "space path": changed(space="../darts"),
    "wrong space": changed(space="nasbench201"),
    "no args": changed(args={}),
    "bare space": changed(space="module"),
    "no decisions": changed(decisions={}),
    "decision list": changed(decisions=[["a", "b"]]),
    "item order": decided(FIRST, ["1", "0"]),
    "item twice": decided(FIRST, ["0", "0"]),
    "one item": decided(FIRST, ["0"]),
    "three items": decided(FIRST, ["0", "1", "2"]),
    "numbers": decided(FIRST, [0, 1]),
    "huge set": decided(FIRST, ["0"] * 90_000),
    "none": decided(f"{FIRST}/0/op", "none"),
    "closed": decided("normal/node5/inputs/3/op", "sep_conv_3x3"),
    "long path": decided("x" * 900_000, "a"),
    "long option": decided(f"{FIRST}/0/op", "x" * 900_000),
    "spaced path": decided(" normal/node2/inputs", ["0", "1"]),
    "unknown": decided("normal/node9/inputs", ["0", "1"]),
    "flat": decided("cell/0-1", "x" * 1000, FLAT),
    "flat number": decided("cell/0-1", 3, FLAT),
    "flat newline": decided("cell/0-1", "none\n", FLAT),
    "flat extra": decided("cell/0-4", "none", FLAT),
    "billion nodes": with_args(nodes=10**9),
    "huge nodes": with_args(nodes=10**4000),
    "no nodes": with_args(nodes=0),
    "other nodes": with_args(nodes=12),
    "foreign argument": with_args(macro="os.system"),
    "named": with_args(name="darts"),
    "self": with_args(self=1),
    "dunder": with_args(__class__=1),
    "many operations": with_args(operations=[f"o{i}" for i in range(70_000)]),
    "foreign operations": with_args(operations=["none", *(o.upper() for o in OPS[1:])]),
    "twice": with_args(operations=OPS + OPS),
    "module operation": with_args(operations=["os.system"]),
    "long operation": with_args(operations=["x" * 500_000, "y"]),
    "newline operation": with_args(operations=["a\nb", "c"]),
    "slash operation": with_args(operations=["/" + "x" * 10**5]),
}
TEXTS |= {f"{field} = {name}": changed(**{field: v}) for field in ("space", "version") for name, v in ODD.items()}
TEXTS |= {f"decision = {name}": decided(f"{FIRST}/0/op", v) for name, v in ODD.items()}
TEXTS |= {f"inputs = {name}": decided(FIRST, v) for name, v in ODD.items()}
TEXTS |= {
    f"{arg} = {name}": with_args(**{arg: v}) for arg in ("nodes", "operations", "more") for name, v in ODD.items()
}
TEXTS |= {f"lacks {field}": json.dumps({k: v for k, v in GOOD.items() if k != field}) for field in list(GOOD)[:5]}


def test_the_good_ones_pass() -> None:
    """Or the hostile ones would be refused for another reason than their hostility."""
    for good in (GOOD, FLAT):
        attempt(json.dumps(good))
        assert (
            Genotype.from_json(json.dumps(good)).to_json() == Genotype.from_json(json.dumps(good, indent=7)).to_json()
        )
    attempt(json.dumps({k: v for k, v in GOOD.items() if k != "origin"}))


@pytest.mark.parametrize("name", TEXTS)
def test_hostile_genotypes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a hundred texts; a canary would show that something in one of them was run."""
    assert len(TEXTS) >= 100
    monkeypatch.chdir(tmp_path)
    refuse(TEXTS[name])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("origin", ODD)
def test_an_origin_of_any_shape_is_data(origin: str) -> None:
    """It is kept or refused, and never changes which genotype it is."""
    try:
        read = Genotype.from_json(changed(origin={"x": ODD[origin]}))
    except GenotypeError as error:
        check_message(error)
    else:
        assert read.origin["x"] == ODD[origin] and read == Genotype.from_json(json.dumps(GOOD))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(OPS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=150)
@given(field=st.sampled_from([*GOOD, "args.nodes", "args.operations", "decisions.normal/node2/inputs"]), value=JSON)
def test_any_json_in_any_place_is_read_or_refused(field: str, value: Any) -> None:
    data = copy.deepcopy(GOOD)
    outer, _, inner = field.partition(".")
    if inner:
        data[outer][inner] = value
    else:
        data[outer] = value
    text = json.dumps(data)
    try:
        attempt(text)
    except SupernetError as error:
        check_message(error)


@settings(max_examples=150)
@given(text=st.text() | st.binary().map(lambda b: b.decode("latin-1")), at=st.integers(0, 5000), cut=st.integers(0, 40))
def test_a_damaged_text_is_read_or_refused(text: str, at: int, cut: int) -> None:
    whole = json.dumps(FLAT)
    at %= len(whole)
    try:
        attempt(whole[:at] + text + whole[at + cut :])
    except SupernetError as error:
        check_message(error)


@pytest.mark.parametrize("name", ["pickle.json", "bytes.json", "big.json", "missing.json", "folder", "nul\0.json"])
def test_hostile_files(name: str, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "canary",))

    (tmp_path / "pickle.json").write_bytes(pickle.dumps(Bomb()))
    (tmp_path / "bytes.json").write_bytes(bytes(range(256)))
    (tmp_path / "big.json").write_bytes(b" " * 2_000_000)
    (tmp_path / "folder").mkdir()
    with pytest.raises(GenotypeError) as error:
        Genotype.load(tmp_path / name)
    assert len(str(error.value).splitlines()) == 1
    assert not (tmp_path / "canary").exists()


def test_files_copies_and_pickles_keep_everything(tmp_path: Path) -> None:
    genotype = published("PDARTS").with_origin(
        method="darts", seed=3, metrics={"accuracy": 0.1 + 0.2}, note="é\n\ud800"
    )
    genotype.save(tmp_path / "g.json")
    for same in (Genotype.load(tmp_path / "g.json"), copy.deepcopy(genotype), pickle.loads(pickle.dumps(genotype))):
        assert same == genotype and same.hash == genotype.hash and hash(same) == hash(genotype)
        assert same.origin == genotype.origin and same.to_json() == genotype.to_json()


@given(origin=st.dictionaries(st.text(), st.text() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)))
@settings(max_examples=60)
def test_any_plain_origin_comes_back(origin: dict[str, Any]) -> None:
    genotype = Genotype("x", {"a": "b"}, origin=origin)
    assert Genotype.from_json(genotype.to_json()).origin == origin


def test_nesting_is_bounded_before_it_is_parsed() -> None:
    def nested(levels: int) -> str:
        value: Any = 1
        for _ in range(levels):
            value = [value]
        return changed(origin={"x": value})

    assert Genotype.from_json(nested(6)).origin["x"]  # the object and its origin are two levels more
    for levels in (7, 60):
        with pytest.raises(GenotypeError, match="deeper than 8"):
            Genotype.from_json(nested(levels))


def test_brackets_in_a_text_are_no_nesting() -> None:
    genotype = POINT.with_origin(command="[" * 50 + "{" * 50, quoted='\\"[' * 20)
    assert Genotype.from_json(genotype.to_json()).origin == genotype.origin


def test_a_genotype_is_frozen_and_its_origin_no_part_of_it() -> None:
    genotype = published("DARTS_V1")
    for change in ("genotype.space = 'x'", "genotype.decisions['a'] = 'b'", "genotype.origin['a'] = 1"):
        with pytest.raises((AttributeError, TypeError)):
            exec(change, {"genotype": genotype})
    assert genotype.with_origin(seed=1) == genotype and genotype.with_origin(seed=1).hash == genotype.hash
    shuffled = dict(reversed(genotype.decisions.items()))
    assert Genotype(genotype.space, shuffled, genotype.version, genotype.args) == genotype
    for other in (
        Genotype("dart", genotype.decisions, genotype.version, genotype.args),
        Genotype(genotype.space, genotype.decisions, 2, genotype.args),
        Genotype(genotype.space, genotype.decisions, genotype.version, {}),
        Genotype(genotype.space, {**genotype.decisions, f"{FIRST}/0/op": "x"}, genotype.version, genotype.args),
    ):
        assert other != genotype and other.hash != genotype.hash


def test_reading_needs_no_torch(tmp_path: Path) -> None:
    published("DARTS_V2").save(tmp_path / "g.json")
    code = (
        "import sys; from supernet.space import Genotype, space_of\n"
        f"g = Genotype.load({str(tmp_path / 'g.json')!r}); space_of(g)\n"
        "assert 'torch' not in sys.modules; print(g.hash)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == published("DARTS_V2").hash
