"""Hostile space files: each is refused with one line, soon, in little memory, and nothing that it names is run."""

import random
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import supernet
from supernet import SupernetError, get_space
from supernet.space.form import load_space, read_space
from supernet.space.form.strict import MOST_BYTES

FORMS = Path(supernet.space.__file__).parent / "zoo" / "forms"
SECONDS, MEGABYTES = 2.0, 200
CANARY = "hostile_yaml_canary"  # a module that must never be imported


def network(body: str, more: str = "") -> str:
    return f"schema: 1\nname: x\nnetwork:\n  arguments: {{c: 4}}\n{more}  body: {body}\n"


def tree(entry: str) -> str:
    return f"schema: 1\nname: x\ndecisions: [{entry}]\n"


def cells(**changed: str) -> str:
    own = {"family": "top_k", "macro": "darts", "kinds": "[n]", "inputs": "2", "nodes": "2", "keep": "2"}
    own |= {"operations": "[skip_connect, sep_conv_3x3]"} | changed
    return "schema: 1\nname: x\ncells: {" + ", ".join(f"{k}: {v}" for k, v in own.items() if v) + "}\n"


def choice(option: str = "identity", more: str = "") -> str:
    return f"[{{choice: {{a: {option}, b: {{activation: relu}}}}{more}}}]"


LAUGH = "".join(f"    t{i}: [{', '.join([f'{{ref: t{i + 1}}}'] * 9)}]\n" for i in range(12))
# Each name is the sum of the one before with itself: thirty of them are a billion additions.
SUMS = "    s0: {choice: [1, 2]}\n" + "".join(f"    s{i}: {{add: [s{i - 1}, s{i - 1}]}}\n" for i in range(1, 31))
PRODUCTS = SUMS.replace("add: [", "rounded: [").replace("s0: {choice: [1, 2]}", "s0: {choice: [8, 16]}")
FACTORS = SUMS.replace("add:", "mul:")
TEXTS = {
    "sums of sums": network("[{linear: {in_features: c, out_features: s30}}]", f"  let:\n{SUMS}"),
    "products of products": network("[{linear: {in_features: c, out_features: s30}}]", f"  let:\n{FACTORS}"),
    "roundings of roundings": network("[{linear: {in_features: c, out_features: s30}}]", f"  let:\n{PRODUCTS}"),
    "sums in choices": network(
        "[{conv: {in_channels: c, out_channels: s12, kernel_size: 1}}, {conv: {in_channels: s12, out_channels: s13}}]",
        f"  let:\n{SUMS}",
    ),
    "laughs": "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nschema: 1",
    "anchor": "schema: &x 1\nname: x",
    "merge": "schema: 1\nname: x\nnetwork: {<<: *x}",
    "python object": f"!!python/object/apply:{CANARY}.run [touch]",
    "python name": f"schema: !!python/name:{CANARY}.run 1",
    "python module": f"schema: !!python/module:{CANARY} ''",
    "own tag": "schema: !mine 1",
    "tag directive": "%TAG ! tag:yaml.org,2002:python/\n---\n!name:os.system x",
    "str tag": "schema: !!str 1\nname: x",
    "two documents": "schema: 1\n---\nschema: 1",
    "twice": "schema: 1\nschema: 1\nname: x",
    "tabs": "schema: 1\nname: x\nnetwork:\n\tbody: []",
    "no mapping": "- 1\n- 2",
    "text alone": "schema",
    "nothing": "",
    "comment alone": "# nothing\n",
    "list for a key": "? [a, b]\n: 1",
    "mapping for a key": "? {a: b}\n: 1",
    "zero byte": "schema: 1\x00",
    "escape": "schema: 1\x1b[31m",
    "surrogate": "schema: \ud800",
    "open quote": "schema: 'x",
    "open bracket": "schema: [1",
    "deep list": "[" * 5000,
    "deep mapping": "{a: " * 5000,
    "deep dashes": "- " * 5000,
    "deep block": "\n".join(" " * i + "a:" for i in range(300)),
    "many keys": "\n".join(f"k{i}: 1" for i in range(60_000)),
    "many values": "a: [" + "1," * 300_000 + "]",
    "too long": "#" * (MOST_BYTES + 1),
    "long key": "? " + "k" * 300_000 + "\n: 1",
    "long word": "schema: " + "x" * 500_000,
    "infinite": "schema: .inf",
    "not a number": "schema: .nan",
    "huge number": "schema: " + "9" * 100_000,
    "huge power": "schema: 1e999999",
    "right to left": "schema: 1\nname: \u202ex",
    "accents": "schema: 1\nname: f\u00fcr\ndecisions: []",
    "windows": "schema: 1\r\nname: x\r\nbody: 1",
    "byte order": "\ufeffschema: 1\nname: x",
}
HEADERS = {
    "schema 2": "schema: 2\nname: x\ndecisions: []",
    "schema true": "schema: true\nname: x\ndecisions: []",
    "schema text": "schema: '1'\nname: x\ndecisions: []",
    "no schema": "name: x\ndecisions: []",
    "no name": "schema: 1\ndecisions: []",
    "no body": "schema: 1\nname: x",
    "two bodies": "schema: 1\nname: x\ndecisions: []\ncells: {}",
    "class alone": f"schema: 1\nname: x\nclass: {CANARY}.Net",
    "class": f"schema: 1\nname: x\nclass: {CANARY}.Net\ndecisions: []",
    "class of os": "schema: 1\nname: x\nclass: os.system\narguments: {command: touch}\ndecisions: []",
    "class number": "schema: 1\nname: x\nclass: 5\ndecisions: []",
    "target": f"schema: 1\nname: x\n_target_: {CANARY}.run",
    "allow in the file": f"schema: 1\nname: x\nallow: [{CANARY}]\nclass: {CANARY}.Net\ndecisions: []",
    "unknown key": "schema: 1\nname: x\ndecision: []",
    "version 0": "schema: 1\nname: x\nversion: 0\ndecisions: []",
    "version text": "schema: 1\nname: x\nversion: a\ndecisions: []",
    "args list": "schema: 1\nname: x\nargs: [1]\ndecisions: []",
    "name list": "schema: 1\nname: [x]\ndecisions: []",
    "name path": "schema: 1\nname: ../x\ndecisions: []",
    "name null": "schema: 1\nname: ~\ndecisions: []",
    "name of another": "schema: 1\nname: darts\ndecisions: [{one_of: a, options: [b]}]",
}
TREES = {
    "empty tree": "schema: 1\nname: x\ndecisions: []",
    "tree text": "schema: 1\nname: x\ndecisions: all",
    "two kinds": tree("{one_of: a, k_of: a, options: [b]}"),
    "no kind": tree("{options: [b]}"),
    "million": tree("{integer: a, low: 0, high: 1000000}"),
    "billion": tree("{integer: a, low: -1000000000, high: 1000000000}"),
    "step 0": tree("{integer: a, low: 0, high: 3, step: 0}"),
    "falling": tree("{integer: a, low: 3, high: 0}"),
    "low text": tree("{integer: a, low: x, high: 3}"),
    "low missing": tree("{integer: a, high: 3}"),
    "no options": tree("{one_of: a}"),
    "empty options": tree("{one_of: a, options: []}"),
    "twins": tree("{one_of: a, options: [b, b]}"),
    "number option": tree("{one_of: a, options: [1, 2]}"),
    "slash": tree("{one_of: a, options: [b/c]}"),
    "k 0": tree("{k_of: a, k: 0, options: [b]}"),
    "k 9": tree("{k_of: a, k: 9, options: [b]}"),
    "below unknown": tree("{one_of: a, options: [b], below: {c: []}}"),
    "mark": tree("{one_of: a, options: [b], mark: trainabel}"),
    "default": tree("{one_of: a, options: [b], default: c}"),
    "same path": tree("{one_of: a, options: [b]}, {one_of: a, options: [b]}"),
    "one group, two sorts": tree("{one_of: a, options: [b], group: g}, {one_of: c, options: [d], group: g}"),
    "many options": tree("{one_of: a, options: [" + ",".join(f"o{i}" for i in range(5000)) + "]}"),
    "deep tree": tree("{one_of: a, options: [b], below: {b: [" * 60 + "]}}" * 60),
}
CELLS = {
    "family": cells(family="topk"),
    "no macro": cells(macro=""),
    "macro mapping": cells(macro="{a: b}"),
    "nodes": cells(nodes="13"),
    "million nodes": cells(nodes="1000000"),
    "nodes text": cells(nodes="two"),
    "inputs 0": cells(inputs="0"),
    "keep missing": cells(keep=""),
    "keep of every edge": cells(family="every_edge"),
    "kinds text": cells(kinds="normal"),
    "kinds twice": cells(kinds="[n, n]"),
    "reductions": cells(reductions="[m]"),
    "operations": cells(operations="[]"),
    "operations twice": cells(operations="[a, a]"),
    "offered kind": cells(offered="{m: {0-2: [skip_connect]}}"),
    "offered edge": cells(offered="{n: {0-9: [skip_connect]}}"),
    "offered operation": cells(offered="{n: {0-2: [conv]}}"),
    "offered list": cells(offered="[n]"),
    "offered to pairs": cells(family="pairs", keep="", offered="{n: {}}"),
    "unknown key of cells": cells(opertions="[a]"),
}
NETWORKS = {
    "body number": network("5"),
    "body null": network("~"),
    "body missing": "schema: 1\nname: x\nnetwork: {let: {}}",
    "no choice": network("[identity]"),
    "unknown part": network("[{chioce: {a: identity}}]"),
    "two parts": network("[{identity: ~, flatten: ~}]"),
    "target in a body": network(choice(f"{{_target_: {CANARY}.run}}")),
    "class in a body": network(choice(f"{{class: {CANARY}.Net}}")),
    "class with code": network(choice("{class: \"__import__('os').system('touch x')\"}")),
    "class os": network(choice("{class: os.system, arguments: {command: touch}}")),
    "class of ours": network(choice("{class: supernet.space.zoo.mobilenet.mobilenetv3_like}")),
    "recursion": network("[{ref: t}]", "  let: {t: [{ref: t}]}\n"),
    "recursion in a choice": network("[{ref: t}]", f"  let: {{t: {choice('{ref: t}')}}}\n"),
    "recursion without end": network("[{ref: t}]", "  depth: 3\n  let: {t: {choice: {a: {ref: t}, b: [{ref: t}]}}}\n"),
    "mutual recursion": network("[{ref: a}]", "  let: {a: [{ref: b}], b: [{ref: a}]}\n"),
    "depth of a million": network("[{ref: t}]", f"  depth: 1000000\n  let: {{t: {choice('{ref: t}')}}}\n"),
    "depth text": network(choice(), "  depth: deep\n"),
    "wide recursion": network("[{ref: t}]", f"  depth: 16\n  let: {{t: {choice('[' + '{ref: t}, ' * 9 + ']')}}}\n"),
    "laughing terms": network("[{ref: t0}]", f"  let:\n{LAUGH}    t12: identity\n"),
    "value of itself": network("[{norm: v}]", "  let: {v: {mul: [v, 2]}}\n"),
    "values in a ring": network("[{norm: v}]", "  let: {v: {mul: [w, 2]}, w: {mul: [v, 2]}}\n"),
    "growing values": network("[{norm: v}]", f"  let: {{v: {{mul: [{', '.join(['1000'] * 8)}]}}}}\n"),
    "unused term": network(choice(), "  let: {t: 3}\n"),
    "unknown term": network("[{ref: trem}]", "  let: {term: 3}\n"),
    "term named as an argument": network(choice(), "  let: {c: 3}\n"),
    "term with a space": network(choice(), "  let: {a b: 3}\n"),
    "let list": network(choice(), "  let: [1]\n"),
    "argument no name": "schema: 1\nname: x\nnetwork: {arguments: {a-b: 1}, body: [identity]}",
    "argument list": "schema: 1\nname: x\nnetwork: {arguments: {a: [1]}, body: [identity]}",
    "million options": network("[{norm: {choice: {from: 1, to: 1000000}}}]"),
    "many blocks": network("[{repeat: {count: 1000000, of: identity}}]"),
    "blocks in blocks": network("[" + "{repeat: {count: 999, of: [" * 5 + "identity" + "]}}" * 5 + "]"),
    "undecided blocks": network("[{repeat: {count: {choice: {from: 1, to: 900}}, of: {choice: [identity, flatten]}}}]"),
    "many choices": network("[" + "{choice: [identity, flatten]}, " * 2000 + "]"),
    "count text": network("[{repeat: {count: many, of: identity}}]"),
    "no of": network("[{repeat: {count: {choice: [1, 2]}}}]"),
    "huge layer": network("[{linear: {in_features: 65536, out_features: {choice: [65535, 65536]}}}]"),
    "many large layers": network("[{repeat: {count: 20, of: {linear: {in_features: 8192, out_features: 8192}}}}]"),
    "wide layer": network("[{conv: {in_channels: 1000000, out_channels: 1, kernel_size: 1}}]"),
    "wide kernel": network("[{conv: {in_channels: 9, out_channels: 9, kernel_size: {choice: [30001, 3]}}}]"),
    "channels 0": network("[{conv: {in_channels: 0, out_channels: {choice: [1, 2]}, kernel_size: 1}}]"),
    "channels negative": network("[{norm: {choice: [-1, 2]}}]"),
    "channels text": network("[{norm: {choice: [a, b]}}]"),
    "channels decimal": network("[{norm: {choice: [1.5, 2.5]}}]"),
    "channels true": network("[{norm: true}]"),
    "channels unknown": network("[{norm: chanels}]"),
    "lacks an argument": network("[{conv: {in_channels: 3}}]"),
    "argument unknown": network("[{conv: {in_chanels: 3, out_channels: 4, kernel_size: 1}}]"),
    "groups": network("[{conv: {in_channels: 3, out_channels: {choice: [3, 4]}, kernel_size: 1, groups: 3}}]"),
    "even kernels": network("[{conv: {in_channels: 3, out_channels: 3, kernel_size: {choice: [2, 3]}}}]"),
    "divide by 0": network("[{norm: {floordiv: [{choice: [1, 2]}, 0]}}]"),
    "round to 0": network("[{norm: {rounded: [{choice: [1, 2]}, 0]}}]"),
    "arithmetic on text": network("[{norm: {mul: [c, relu]}}]"),
    "power": network("[{norm: {pow: [10, 100]}}]"),
    "code for a number": network("[{norm: \"__import__('os')\"}]"),
    "code in braces": network("[{norm: '${oc.env:HOME}'}]"),
    "two operands too few": network("[{norm: {mul: [2]}}]"),
    "choice of nothing": network("[{choice: {}}]"),
    "choice of text": network("[{choice: relu}]"),
    "choice of null": network("[{choice: {a: ~, b: identity}}]"),
    "choice of twins": network("[{choice: {a: identity, b: identity}}]"),
    "option with a dot": network("[{choice: {a.b: identity, b: {activation: relu}}}]"),
    "k too large": network(choice(more=", k: 3")),
    "k text": network(choice(more=", k: two")),
    "mark of a choice": network(choice(more=", mark: trained")),
    "default of a choice": network(choice(more=", default: c")),
    "share number": network(choice(more=", share: 5")),
    "share of two sorts": network(f"[{choice(more=', share: s')}, {{choice: {{x: identity}}, share: s}}]"),
    "operation": network(choice("{op: sep_conv, c_in: 4, c_out: 4}")),
    "operation undecided": network(choice("{op: sep_conv_3x3, c_in: {choice: [1, 2]}, c_out: 4}")),
    "operation stride": network(choice("{op: sep_conv_3x3, c_in: 4, c_out: 4, stride: 9}")),
    "operation affine": network(choice("{op: sep_conv_3x3, c_in: 4, c_out: 4, affine: 1}")),
    "operation huge": network(choice("{op: nor_conv_3x3, c_in: 65536, c_out: 65536}")),
    "pool": network(choice("{pool: mean}")),
    "pool kernel": network(choice("{pool: max, kernel_size: 1000}")),
    "dropout": network(choice("{dropout: 2}")),
    "flatten": network(choice("{flatten: -1}")),
    "join": network(choice("{parallel: [identity, flatten], join: max}")),
    "residual": network(choice("{seq: [identity], residual: 1}")),
    "name of a method": network("{seq: {forward: identity, a: {choice: [identity, flatten]}}}"),
    "name of a buffer": network("{seq: {_parameters: identity, a: {choice: [identity, flatten]}}}"),
    "name too long": network("{seq: {" + "a" * 200 + ": identity}}"),
    "nested parts": network("[" * 30 + "identity" + "]" * 30),
    "nested terms": network(
        "[{ref: t0}]",
        "  let:\n" + "".join(f"    t{i}: [[[{{ref: t{i + 1}}}]]]\n" for i in range(30)) + "    t30: identity\n",
    ),
    "activation": network("[{activation: {choice: [relu, gleu]}}]"),
    "heads": network("[{attention: {dim: 8, heads: {choice: [0, 2]}}}]"),
    "size": network("[{resize: {choice: [0, 8]}}]"),
}
DOCUMENTS = TEXTS | HEADERS | TREES | CELLS | NETWORKS


@pytest.fixture(autouse=True, scope="module")
def loaded() -> None:
    """torch and timm, which take seconds that are no document's."""
    get_space("timm_resnet_width")


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that appears when the module that hostile documents name is imported."""
    (tmp_path / f"{CANARY}.py").write_text("import pathlib\npathlib.Path(__file__).with_name('ran').touch()\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(text: str, read: Callable[[str], object]) -> str | None:
    """The one line with which a document is refused, None where it is read; fails where that takes long."""
    begin, line = time.process_time(), None
    try:
        read(text)
    except SupernetError as error:
        line = str(error)
    took = time.process_time() - begin
    assert took < SECONDS, f"{took:.1f} s for {text[:200]!r}"
    assert line is None or ("\n" not in line and len(line) < 700), line
    return line


def memory() -> float:
    """The largest resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)


def test_every_document_is_refused_in_one_line(canary: Path) -> None:
    assert len(DOCUMENTS) >= 120
    read_space(network(choice()))  # what is good is read
    before = memory()
    read = {name: refused(text, read_space) for name, text in DOCUMENTS.items()}
    assert [name for name, line in read.items() if line is None] == []
    assert memory() - before < MEGABYTES
    assert sorted(path.name for path in canary.iterdir()) == [f"{CANARY}.py"]
    assert CANARY not in sys.modules


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("unknown key", "'decision'; did you mean 'decisions'"),
        ("unknown part", "network.body.seq.0: unknown part 'chioce'; did you mean 'choice'"),
        ("argument unknown", "network.body.seq.0.conv: unknown key 'in_chanels'; did you mean 'in_channels'"),
        ("lacks an argument", "network.body.seq.0.conv lacks the argument 'out_channels'"),
        ("channels unknown", "network.body.seq.0.norm.channels: unknown name 'chanels'"),
        ("operation", "unknown name 'sep_conv'; did you mean 'sep_conv_"),
        ("recursion in a choice", "say how often with `depth: 3`"),
        ("recursion without end", "without an option that ends it"),
        ("unknown key of cells", "'opertions'; did you mean 'operations'"),
        ("twice", "line 2: the key 'schema' stands twice"),
        ("tabs", "line 4"),
        ("class", f"space.allow=[{CANARY}]"),
        ("mark", "'trainabel'; did you mean 'trainable'"),
        ("unused term", "network.let.t is not used"),
        ("many large layers", "the network has more than 1,000,000,000 weights"),
    ],
)
def test_the_line_says_where_and_the_way_out(name: str, words: str) -> None:
    assert words in str(refused(DOCUMENTS[name], read_space))


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes("schema: 1\nname: f\u00fcr".encode("latin-1"))
    (tmp_path / "long.yaml").write_bytes(b"#" * (MOST_BYTES + 5))
    for path in ("latin.yaml", "long.yaml", "missing.yaml", "", ".", "\0", "x" * 5000):
        line = refused(str(tmp_path / path), load_space)
        assert line is not None


def mutants(count: int, seed: int) -> list[str]:
    """Good documents with random changes: of characters, lines and words."""
    rng = random.Random(seed)
    good = [
        path.read_text() for path in sorted(FORMS.iterdir()) if path.stem not in ("mobilenetv3_like", "autoformer_tiny")
    ]
    words = sorted({word for text in good for word in text.replace(":", " ").replace(",", " ").split()})
    found = []
    for _ in range(count):
        text = rng.choice(good)
        for _ in range(rng.randint(1, 4)):
            lines = text.splitlines() or ["-"]
            at = rng.randrange(len(lines))
            kind = rng.randrange(6)
            if kind == 0:
                text = text.replace(
                    rng.choice(words), rng.choice([*words, "-1", "99999", "~", "[]", "{}", "x", "''"]), 1
                )
            elif kind == 1:
                text = "\n".join(lines[:at] + lines[at + 1 :])
            elif kind == 2:
                text = "\n".join([*lines[:at], lines[rng.randrange(len(lines))], *lines[at:]])
            elif kind == 3:
                text = "\n".join([*lines[:at], rng.choice("  \t-#&*!") + lines[at], *lines[at + 1 :]])
            elif kind == 4:
                place = rng.randrange(len(text) + 1)
                text = text[:place] + chr(rng.choice([*range(32, 127), 0, 9, 0x202E, 0xE9])) + text[place:]
            else:
                text = text[: rng.randrange(len(text) + 1)] or "-"
        found.append(text)
    return found


def look_at_mutants(count: int, seed: int) -> None:
    lines = [refused(text, read_space) for text in mutants(count, seed)]
    assert sum(line is not None for line in lines) > count / 2


def test_damaged_documents_are_read_or_refused_in_one_line() -> None:
    look_at_mutants(60, seed=0)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1, 11))
def test_thousands_of_damaged_documents(seed: int, canary: Path) -> None:
    before = memory()
    look_at_mutants(500, seed)
    assert memory() - before < MEGABYTES
