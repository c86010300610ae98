"""Lines that define five search spaces of the literature, here and in other toolkits, counted by one counter.

    python benchmarks/project/lines.py [--json]                  # counts ours, shows the table; --json writes it
    python benchmarks/project/lines.py --peer NNI=CHECKOUT [--json] # counts a peer again, in a checkout of its commit

A line counts when it holds code: blank lines, comments and docstrings do not. `definition` is what names the choices on
top of the toolkit's ready parts; `whole` adds every part that is special to the space: its family of cells, its blocks
and its network. What no space owns is counted nowhere: imports, layers, candidate operations (and attention), auxiliary
heads, weight files, tables of benchmarks, hooks of profilers and of timm. `statements` is the same without the taste
in breaking lines. The peers' pieces stand in the JSON, with repository, commit and date. Needs no torch.
"""

import argparse
import ast
import datetime
import io
import json
import sys
import tokenize
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.common.report import RESULTS, add_json, save

__all__ = ["BEGIN", "END", "count", "count_pieces", "count_yaml", "main", "markdown", "ours"]

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
RESULT = RESULTS / "lines.json"
BEGIN, END = "<!-- lines: written by benchmarks/project/lines.py -->", "<!-- end of lines -->"
TITLES = {
    "darts": "DARTS",
    "nasbench201": "NAS-Bench-201",
    "nasnet": "NASNet",
    "mobilenet": "MobileNetV3-like",
    "autoformer": "AutoFormer",
}
_ZOO, _MACRO = "supernet/space/zoo", "supernet/network/macro"


def _piece(file: str, names: str, without: str = "") -> dict[str, Any]:
    return {"file": file, "names": names.split(), "without": without.split()}


_DARTS_NETWORK = [
    _piece(f"{_MACRO}/darts.py", "KINDS CONCATS plans DartsBody DartsNetwork"),
    _piece(f"{_MACRO}/stems.py", "_conv CifarStem ImageNetStem _STEMS make_stem"),
    _piece("supernet/network/cells/cell.py", "_Entrance"),
]
_NASBENCH201_NETWORK = _piece(
    f"{_MACRO}/nasbench201.py",
    "STAGES KINDS ResidualReduction make_stem make_last plans _layers NasBench201Body NasBench201Network",
)
_MOBILENET = _piece(
    f"{_ZOO}/mobilenet.py",
    "STRIDES STEMS _conv_norm SqueezeExcite MBConv MobileNet _place mobilenetv3_like",
    "MobileNet.feature_info",  # what timm asks a network for
)
_AUTOFORMER = _piece(
    f"{_ZOO}/autoformer.py",
    "TOKEN_POOLS Tokens ElasticTokens _tokens Block TokenPool AutoFormer autoformer_tiny",
    "AutoFormer.feature_info AutoFormer.as_map AutoFormer.no_weight_decay",
)
# Space -> pieces of its definition, pieces that the whole has besides, its YAML form, pieces that the form needs.
OURS: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]], str, list[dict[str, Any]]]] = {
    "darts": ([_piece(f"{_ZOO}/darts.py", "OPERATIONS darts")], _DARTS_NETWORK, "darts", []),
    "nasbench201": (
        [_piece(f"{_ZOO}/nasbench201.py", "OPERATIONS nasbench201")],
        [_NASBENCH201_NETWORK, _piece("supernet/space/cells/every_edge.py", "EdgeCells")],
        "nasbench201",
        [],
    ),
    "nasnet": (
        [_piece(f"{_ZOO}/nasnet.py", "OPERATIONS nasnet")],
        [_piece("supernet/space/cells/pairs.py", "SIDES NasnetCells"), *_DARTS_NETWORK],
        "nasnet",
        [],
    ),
    "mobilenet": ([_MOBILENET], [], "mobilenetv3_like", []),
    "autoformer": (
        [_AUTOFORMER],
        [],
        "autoformer_tiny",
        [_piece(f"{_ZOO}/autoformer.py", "TOKEN_POOLS Tokens ElasticTokens _tokens TokenPool")],
    ),
}


def count(source: str, names: Iterable[str] | None = None, without: Iterable[str] = ()) -> dict[str, int]:
    """{"lines", "statements"} of Python source: all of it, or its classes, functions and constants of these names.

    A name is `NAME` or `CLASS.NAME`; of two with one name the last counts. Raises KeyError for one that is not there.
    """
    tree = ast.parse(source)
    pieces = list(tree.body) if names is None else [_named(tree, name) for name in names]
    dropped = [_named(tree, name) for name in without if _has(tree, name)]
    dropped += [node for node in ast.walk(tree) if _is_text(node)]
    counted = set().union(*(_span(node) for node in pieces)) - set().union(*(_span(node) for node in dropped))
    hidden = {id(inner) for node in dropped for inner in ast.walk(node)}
    statements = {id(n) for node in pieces for n in ast.walk(node) if isinstance(n, ast.stmt)} - hidden
    return {"lines": len(counted & _code_lines(source)), "statements": len(statements)}


def count_yaml(text: str) -> int:
    """Lines that are neither blank nor a comment."""
    return sum(1 for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))


def count_pieces(root: Path, pieces: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """The sum over pieces {"file", "names", "without"} below `root`."""
    counts = [count((root / p["file"]).read_text(encoding="utf-8"), p["names"], p.get("without", ())) for p in pieces]
    return {key: sum(one[key] for one in counts) for key in ("lines", "statements")}


def _is_text(node: ast.AST) -> bool:
    """A docstring, wherever it stands."""
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__doc__":
        return True
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _span(node: ast.stmt) -> set[int]:
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
    return set(range(first, (node.end_lineno or first) + 1))


def _code_lines(source: str) -> set[int]:
    nothing = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {line for t in tokens if t.type not in nothing for line in range(t.start[0], t.end[0] + 1)}


def _members(node: ast.AST) -> Iterator[tuple[str, ast.stmt]]:
    for inner in getattr(node, "body", ()):
        if isinstance(inner, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield inner.name, inner
        targets = inner.targets if isinstance(inner, ast.Assign) else [getattr(inner, "target", None)]
        yield from ((target.id, inner) for target in targets if isinstance(target, ast.Name))


def _named(tree: ast.AST, name: str) -> ast.stmt:
    node: Any = tree
    for part in name.split("."):
        node = dict(_members(node))[part]
    return node


def _has(tree: ast.AST, name: str) -> bool:
    try:
        return bool(_named(tree, name))
    except KeyError:
        return False


def ours(root: Path = ROOT) -> dict[str, dict[str, Any]]:
    """Space -> {"definition", "whole", "yaml", "yaml_needs"} of this checkout."""
    counts: dict[str, dict[str, Any]] = {}
    for space, (definition, besides, form, needs) in OURS.items():
        text = (root / _ZOO / "forms" / f"{form}.yaml").read_text(encoding="utf-8")
        counts[space] = {
            "definition": count_pieces(root, definition),
            "whole": count_pieces(root, [*definition, *besides]),
            "yaml": count_yaml(text),
            "yaml_needs": count_pieces(root, needs)["lines"],  # lines of Python whose classes the form names
        }
    return counts


def recount(peer: Mapping[str, Any], checkout: Path) -> dict[str, Any]:
    """The entry of a peer with its pieces counted in `checkout`, today."""
    spaces = {
        space: {
            **entry,
            "definition": count_pieces(checkout, entry["pieces"]["definition"]),
            "whole": count_pieces(checkout, entry["pieces"]["definition"] + entry["pieces"]["besides"]),
        }
        for space, entry in peer["spaces"].items()
    }
    return {**peer, "counted": datetime.date.today().isoformat(), "spaces": spaces}


def markdown(result: Mapping[str, Any]) -> str:
    """README's table: lines of the definition, and in brackets of the whole where that is more."""
    peers = result["peers"]
    header = ["space", "YAML", "Python", *(peer["name"] for peer in peers)]
    rows = [
        [title, _form(result["ours"][space]), *(_cell(who.get(space)) for who in _columns(result))]
        for space, title in TITLES.items()
    ]
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *rows])


def _columns(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [result["ours"], *(peer["spaces"] for peer in result["peers"])]


def _form(counted: Mapping[str, Any]) -> str:
    return f"{counted['yaml']} + {counted['yaml_needs']} Python" if counted["yaml_needs"] else str(counted["yaml"])


def _cell(counted: Mapping[str, Any] | None) -> str:
    if counted is None:
        return "-"
    short, whole = counted["definition"]["lines"], counted["whole"]["lines"]
    return f"{short} ({whole})" if whole > short else str(short)


def write_readme(result: Mapping[str, Any]) -> None:
    """Puts the table between README's two markers, where it has them."""
    before, begin, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if end:
        README.write_text(f"{before}{begin}\n\n{markdown(result)}\n\n{end}{after}", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """The script; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=CHECKOUT", help="count this peer again")
    add_json(parser)
    options = parser.parse_args(argv)
    published = json.loads(RESULT.read_text(encoding="utf-8"))
    checkouts = dict(one.partition("=")[::2] for one in options.peer)
    if wrong := set(checkouts) - {peer["name"] for peer in published["peers"]}:
        print(f"error: no peer {sorted(wrong)[0]!r} in {RESULT.name}", file=sys.stderr)
        return 2
    peers = [recount(p, Path(checkouts[p["name"]])) if p["name"] in checkouts else p for p in published["peers"]]
    result = {"ours": ours(), "peers": peers}
    print(markdown(result))
    if options.json:
        print(f"written: {save(result, options.json, 'lines')}")
        if options.json == RESULTS:
            write_readme(result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
