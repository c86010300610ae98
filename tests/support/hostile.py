"""Hostile genotypes, space files and command lines: bombs written by hand, then good ones changed, from a seed.

Good ones are of all spaces of the zoo. They are changed as trees (values, keys and whole branches), as tokens and as
bytes. The same seed gives the same cases; each has a name, so that one that fails can be found again.
"""

import copy
import inspect
import json
import random
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from supernet.errors import SupernetError
from supernet.space import get_space
from supernet.space.form.strict import read_yaml, write_yaml
from supernet.space.zoo import SPACES
from tests.space.form.test_yaml_hostile import DOCUMENTS, FORMS, mutants
from tests.support.hostile_lines import KEYS, LINES, words
from tests.support.zoo_small import SMALL

__all__ = ["FORMS", "Case", "forms", "genotypes", "good_genotypes", "overrides", "space_files"]

Case = tuple[str, Any]

ODD: list[Any] = [
    None, True, False, 0, -1, 1, 2, 3, 1.5, 10**4000, -(10**18), 2**63, 1e308, float("nan"), float("inf"), "", " ", "x",
    "a\nb\r\n\u2028c", "\0", "\x1b[31m", "\u202eabc", "\ud800", "é🦊", "x" * 100_000, [], [[]], [None], [1, 2, 3], {},
    {"": {}}, {"__reduce__": ["os.system", "touch canary"]}, {"_target_": "posix.mkdir", "path": "canary"},
    {"__class__": "x"}, {"$ref": "#/a"}, "../../../../etc/passwd", "/etc/passwd", "file:///etc/passwd",
    "__import__('os').system('touch canary')", "!!python/object/apply:os.system ['touch canary']", "${oc.env:HOME}",
    "{0.__class__}%s%n", "os.system", "posix.mkdir", "builtins.eval", "supernet.cli.main", "canary.strike",
    "supernet.space.zoo.os.system", "supernet.space.zoo.autoformer.AutoFormer", ["a/b", "/"], ["x" * 100_000],
    ["skip_connect"] * 50_000, list(range(20_000)), [[[["a"]]]], "1e999", "0x10", "1_000", "---", "*a", "&a", "<<",
    "none", "skip_connect", "cell/0-1", "normal/node2/inputs", 10**9, 65_536, 4096, 100, [4096] * 32, [50] * 32,
]  # fmt: skip
TOKENS = [
    "{", "}", "[", "]", ":", ",", '"', "'", "\\", "-", "- ", "#", "&a ", "*a", "!!python/name:os.system ", "!x ", "|",
    "? ", "<<: *a", "\n", "\t", "\0", "null", "true", "NaN", "Infinity", "-Infinity", "1e999", "9" * 5000, "0x1", "{{",
    "${a}", "---\n", "...\n", "%YAML 9.9\n", "\ufeff", "\ud800", "  ", "schema", "choice", "repeat", "ref", "class",
    "$", ">", "let", "0", "-1", "~",
]  # fmt: skip


def _nested(levels: int, kind: str = "[") -> str:
    return kind * levels + {"[": "]" * levels, '{"a":': "1" + "}" * levels}[kind]


def _texts() -> dict[str, str]:
    """Texts that are hostile to any reader."""
    steps = zip("abcdefgh", "bcdefghi", strict=True)
    return {
        "nothing": "", "blanks": " " * 999_999, "too long": " " * 2_000_001, "nul": "\0", "mark": "\ufeff",
        "deep lists": _nested(10_000), "deep maps": _nested(10_000, '{"a":'), "deep open": "[" * 100_000,
        "million": "[" * 999_999, "digits": "1" * 900_000, "minus": "-" * 900_000, "quotes": '"' * 999_999,
        "open text": '"' + '\\"' * 490_000, "backslashes": '"' + "\\" * 900_000, "colons": "a: " * 300_000,
        "dashes": "- " * 400_000, "questions": "? " * 400_000, "tabs": "\t" * 999_999, "lines": "\n" * 999_999,
        "indents": "".join(" " * i + "a:\n" for i in range(1200)), "long key": "a" * 900_000 + ": 1",
        "long plain": "a " * 450_000, "block": "a: |\n" + "  x\n" * 200_000, "comments": "#\n" * 499_999,
        "documents": "---\n" * 200_000, "many keys": "\n".join(f"k{i}: 1" for i in range(60_000)),
        "tags": "!a " * 300_000,
        "aliases": "a: &a [x,x]\n" + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in steps),
        "loop": "a: &a [*a]\n", "anchors": "".join(f"&a{i} x\n" for i in range(50_000)),
        "object": "!!python/object/apply:os.system ['touch canary']", "binary": "!!binary " + "A" * 900_000,
        "new": "!!python/object/new:posix.mkdir ['canary']", "name": "!!python/name:canary.strike",
        "colour": '{"schema": "\\u001b[31m", "space": "darts", "version": 1, "decisions": {}}',
        "pickle": "cos\nsystem\n(S'touch canary'\ntR.", "code": "__import__('os').system('touch canary')",
    }  # fmt: skip


# What changes a text or a tree.


def changed_bytes(raw: bytes, rng: random.Random) -> bytes:
    """One to eight bytes or spans flipped, put in, taken out, doubled, zeroed or cut off."""
    found = bytearray(raw)
    for _ in range(rng.choice([1, 1, 2, 8])):
        at, length = rng.randrange(len(found) + 1), rng.randint(1, 40)
        kind = rng.randrange(6)
        if kind == 0 and at < len(found):
            found[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            found[at:at] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 4)))
        elif kind == 2:
            del found[at : at + length]
        elif kind == 3:
            found[at:at] = found[at : at + length] * rng.choice([1, 1, 50])
        elif kind == 4:
            found[at : at + length] = bytes(len(found[at : at + length]))
        elif rng.random() < 0.3:
            del found[at:]
    return bytes(found)


def changed_tokens(text: str, rng: random.Random) -> str:
    """One to six words or signs taken out, doubled, moved, or replaced."""
    found = re.findall(r"\w+|\s+|[^\w\s]", text)
    for _ in range(rng.choice([1, 1, 2, 6])):
        at, other = rng.randrange(len(found) + 1), rng.randrange(len(found) + 1)
        kind = rng.randrange(5)
        if kind == 0:
            del found[at : at + rng.randint(1, 4)]
        elif kind == 1:
            found[at:at] = found[other : other + rng.randint(1, 12)]
        elif kind == 2:
            found[at:at] = [rng.choice(TOKENS)]
        else:
            found[at : at + 1] = [rng.choice(TOKENS)] if kind == 3 else found[other : other + 1]
    return "".join(found)


def changed_tree(data: Any, rng: random.Random, donors: list[Any]) -> Any:
    """One to three values replaced, wrapped, moved, renamed, doubled or taken out; `donors` give foreign branches."""
    found = {"root": copy.deepcopy(data)}
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        places = list(_places(found))
        holder, key = rng.choice(places)
        value = holder[key]
        kind = rng.randrange(10)
        if kind < 4:
            holder[key] = copy.deepcopy(rng.choice(ODD))
        elif kind == 4:
            holder[key] = _other(value, rng)
        elif kind == 5:
            giver, name = rng.choice(list(_places({"root": rng.choice(donors)})))
            holder[key] = copy.deepcopy(giver[name])
        elif kind == 6:
            giver, name = rng.choice(places)
            holder[key] = copy.deepcopy(giver[name])
        elif kind == 7 and holder is not found:
            del holder[key]
        elif kind == 8 and isinstance(holder, dict) and holder is not found:
            odd = rng.choice(ODD)
            holder[odd if isinstance(odd, str) else f"{key}{rng.choice(['/', ' ', '_', '.0', '0'])}"] = holder.pop(key)
        else:
            holder[key] = rng.choice([[value], {"a": value}, [value] * 40, [value, value]])
    return found["root"]


def _other(value: Any, rng: random.Random) -> Any:
    """A value that looks like `value`."""
    if isinstance(value, str):
        return changed_tokens(value, rng)
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int | float):
        return rng.choice([value + 1, -value, value * 1000, value / 3, str(value), value * 10**18])
    if isinstance(value, list):
        return rng.choice([value[::-1], value + value, value[1:], [*value, None], value * 100])
    return {key: value[key] for key in reversed(value)}


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for key in keys:
        yield node, key
        yield from _places(node[key])


def _cases(n: int, seed: int, goods: dict[str, Any], dump: Callable[[Any], str]) -> Iterator[Case]:
    """`n` changed ones of `goods`, name -> tree, as (name, bytes)."""
    rng = random.Random(seed)
    names, donors = sorted(goods), list(goods.values())
    for i in range(n):
        name = names[i % len(names)]
        level = rng.choice(["tree", "tree", "tokens", "bytes"])
        if level == "tree":
            text = dump(changed_tree(goods[name], rng, donors))
        else:
            text = dump(goods[name])
            text = changed_tokens(text, rng) if level == "tokens" else text
        raw = text.encode(errors="surrogatepass")
        yield f"{level} of {name}, seed {seed} case {i}", changed_bytes(raw, rng) if level == "bytes" else raw


# Genotypes.


@cache
def good_genotypes(small: bool = False) -> dict[str, Any]:
    """A random point of each space of the zoo, as plain data; `small`: of small sizes alone."""
    rng, found = random.Random(0), {}
    for name in SPACES:
        sizes = [SMALL.get(name, ({}, {}))[0]]
        for args in sizes if small or not sizes[0] else [*sizes, {}]:
            genotype = get_space(name, **args).sample(rng).with_origin(seed=1, note="é")
            found[f"{name} {args or ''}".strip()] = json.loads(genotype.to_json())
    return found


LIMITS: dict[type, list[Any]] = {  # by the type of an argument's default
    tuple: [[4096], [1], [1] * 5, [4096] * 5, [50], [10], [100], [0.001], list(range(1, 33)), [0.01] * 2,
            list(range(4065, 4097)), [1, 4096], [5, 10]],
    int: [12, 11, 2, 1],
    str: ["resnet200", "resnet152", "resnet18"],
}  # fmt: skip


def _at_limits(n: int, seed: int) -> Iterator[Case]:
    """Points of spaces whose arguments are as large as they may be, or nearly."""
    rng = random.Random(f"limits {seed}")
    defaults = {name: inspect.signature(SPACES[name]).parameters.values() for name in SPACES}
    free = [name for name in SPACES if defaults[name]]
    for i in range(n):
        name = free[i % len(free)]
        chosen = rng.sample(list(defaults[name]), rng.randint(1, len(defaults[name])))
        args = {one.name: rng.choice(LIMITS[type(one.default)]) for one in chosen}
        try:
            data = json.loads(get_space(name, **args).sample(rng).to_json())
        except (SupernetError, RuntimeError):  # the second is a fault, which reading the case will show
            data = {"schema": 1, "space": name, "version": 1, "args": args, "decisions": {}}
        yield f"limits of {name}, seed {seed} case {i}", json.dumps(data).encode()


def genotypes(n: int, seed: int) -> Iterator[Case]:
    """`n` of (name, bytes of a genotype file)."""
    bombs = _texts() if seed == 0 else {}
    for name, text in bombs.items():
        yield name, text.encode(errors="surrogatepass")
    limits = n // 20
    yield from _at_limits(limits, seed)
    yield from _cases(n - limits - len(bombs), seed, good_genotypes(), json.dumps)


# Space files.


@cache
def forms() -> dict[str, Any]:
    """The YAML forms of the zoo as plain data."""
    return {path.stem: read_yaml(path.read_text(encoding="utf-8")) for path in sorted(FORMS.glob("*.yaml"))}


def _network(body: Any, **more: Any) -> str:
    arguments = {"num_classes": 10, "in_chans": 3, "channels": 8}
    return json.dumps({"schema": 1, "name": "bomb", "network": {"arguments": arguments, **more, "body": body}})


def _choice(low: int, high: int) -> dict[str, Any]:
    return {"choice": {"from": low, "to": high}}


def _space_bombs() -> dict[str, str]:
    """Networks that would become too large, and classes that must not be reached."""
    conv = {"conv": {"in_channels": "channels", "out_channels": "channels", "kernel_size": 3}}
    wide = {"conv": dict.fromkeys(("in_channels", "out_channels", "kernel_size"), 65536)}
    open_sizes = {"conv": {key: _choice(1, 900) for key in ("in_channels", "out_channels", "kernel_size", "dilation")}}
    joint = {"conv": {"in_channels": 3, "out_channels": {"mul": [f"w{i}" for i in range(8)]}, "kernel_size": 3}}
    blocks = {"repeat": {"count": _choice(1, 60), "of": conv}}
    found = {
        "itself": _network({"ref": "a"}, let={"a": {"choice": [conv, {"seq": [{"ref": "a"}] * 3}]}}, depth=16),
        "doubling": _network({"ref": "t0"}, let=_terms(30, "seq", 2, conv)),
        "branching": _network({"ref": "t0"}, let=_terms(15, "choice", 4, conv)),
        "huge layers": _network({"seq": [wide] * 400}),
        "repeats": _network({"repeat": {"count": 1000, "of": {"repeat": {"count": 1000, "of": conv}}}}),
        "counts": _network({"repeat": {"count": _choice(1, 900), "of": conv}}),
        "counts of counts": _network({"repeat": {"count": _choice(1, 60), "of": blocks}}),
        "range": _network({"seq": [{"norm": _choice(-(10**6), 10**6)}]}),
        "powers": _network({"norm": "w59"}, let={f"w{i}": {"mul": [f"w{i - 1}"] * 8} if i else 9 for i in range(60)}),
        "joint": _network({"seq": [joint]}, let={f"w{i}": _choice(1, 40) for i in range(8)}),
        "open sizes": _network({"seq": [open_sizes]}),
        "parts": _network({"seq": [conv] * 19_000}), "options": _network({"choice": [conv] * 4000}),
        "heads": _network({"attention": dict.fromkeys(("dim", "heads", "head_dim"), 65536)}),
    }  # fmt: skip
    names = [f"o{i}" for i in range(200)]
    cells = {"family": "every_edge", "macro": "darts", "kinds": ["n"], "inputs": 2, "nodes": 12, "operations": names}
    offered = {"n": {f"{j}-{i}": names for i in range(2, 14) for j in range(i)}}
    header = {"schema": 1, "name": "x"}
    found |= {
        "arguments list": json.dumps({**header, "network": {"arguments": [1], "body": ["identity"]}}),
        "arguments number": json.dumps({**header, "network": {"arguments": 5, "body": ["identity"]}}),
        "arguments of a class": _network({"class": "supernet.space.zoo.mobilenet.MBConv", "arguments": [{"a": 1}]}),
        "text to the power": _network(
            {"norm": {"rounded": [{"mul": [16, "w"]}, 8]}}, let={"w": {"choice": ["touch canary" * 9, 3]}}
        ),
        "values for a number": _network({"norm": ["w", "w"]}, let={"w": {"mul": [_choice(1, 4), 16]}}),
        "names": json.dumps({**header, "cells": cells}),
        "offered": json.dumps({**header, "cells": {**cells, "offered": offered}}),
    }
    zoo = "supernet.space.zoo"
    for path in (
        "os.system", "posix.mkdir", "builtins.eval", "canary.strike", "torch.nn.Linear", "torch.hub.load", zoo,
        f"{zoo}.", f"{zoo}..os.system", f"{zoo}.canary.X", f"{zoo}.__init__.x", f"{zoo}.autoformer.torch.nn.Linear",
        f"{zoo}.timm_width.timm.create_model", f"{zoo}.autoformer.__builtins__.eval", f"{zoo}.autoformer.Tokens",
        f"{zoo}.mobilenet.partial",
    ):  # fmt: skip
        found[f"class {path}"] = _network({"class": path, "arguments": {"patches": 10**9, "dim": 10**9}})
        found[f"space {path}"] = json.dumps({"schema": 1, "name": "x", "decisions": [], "class": path})
    return found


def _terms(levels: int, kind: str, times: int, last: Any) -> dict[str, Any]:
    """Terms each of which stands `times` in the one before."""
    return {f"t{i}": {kind: [{"ref": f"t{i + 1}"}] * times} for i in range(levels)} | {f"t{levels}": last}


def space_files(n: int, seed: int) -> Iterator[Case]:
    """`n` of (name, bytes of a space file)."""
    bombs = {**_texts(), **_space_bombs(), **{f"document {k}": v for k, v in DOCUMENTS.items()}} if seed == 0 else {}
    chosen = random.Random(seed).sample(sorted(bombs), min(len(bombs), n // 2))
    for name in chosen:
        yield name, bombs[name].encode(errors="surrogatepass")
    damaged = (n - len(chosen)) // 4
    for i, text in enumerate(mutants(damaged, seed)):
        yield f"damaged, seed {seed} case {i}", text.encode(errors="surrogatepass")
    yield from _cases(n - len(chosen) - damaged, seed, forms(), _yaml)


def _yaml(tree: Any) -> str:
    text = json.dumps(tree)
    return text if len(text) > 10_000 else write_yaml(tree)


# Command lines.

GOOD = (
    "seed=1", "epochs=2", "batch_size=16", "data=digits", "data.limit=128", "space=darts", "space=nasbench201",
    "space=mobilenetv3_like", "space.args.nodes=3", "network.channels=4", "network.layers=3", "network={channels: 4}",
    "method=darts_first_order", "method=darts_second_order", "weights.lr=0.1", "alphas.beta1=0.5", "run.name=x",
    "space.args={nodes: 2, operations: [none, skip_connect]}", "+data.kwargs.a=[1,2]", "data.root=here", "amp=bf16",
    "checkpoint.keep=2", "log.every=3", "alpha_share=0.5", "++data.image_size=16", "~data.limit", "device=cpu",
    "space.file=canary.yaml", "space.allow=[canary]", "experiment=darts_cifar10_search", "+network.stem=cifar",
)  # fmt: skip
SIGNS = ("", "", "", "+", "++", "~")


def overrides(n: int, seed: int) -> Iterator[Case]:
    """`n` of (name, words behind the name of the command), the first of them those of `LINES`."""
    written = LINES[seed::7] if seed < 7 else []
    for line in written[:n]:
        stage = "retrain" if line.startswith("genotype=") else "search"
        yield f"line {line[:200]!r}", [stage, *words(line)]
    rng = random.Random(f"overrides {seed}")
    for i in range(n - len(written)):
        line = rng.choice(GOOD)
        level = rng.choice(["value", "value", "tokens", "bytes", "two"])
        if level in ("value", "two"):
            odd = rng.choice(ODD)
            text = odd if isinstance(odd, str) else json.dumps(odd)
            line = f"{rng.choice(SIGNS)}{rng.choice([*KEYS, line.partition('=')[0]])}={text}"
        elif level == "tokens":
            line = changed_tokens(line, rng)
        else:
            line = changed_bytes(line.encode(), rng).decode(errors="surrogateescape")
        more = [changed_tokens(rng.choice(GOOD), rng)] if level == "two" else []
        stage = rng.choice(["search", "search", "search", "retrain", "export"])
        yield f"{level}, seed {seed} case {i}: {line[:80]!r}", [stage, line, *more]
