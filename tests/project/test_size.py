"""The size of things: folders, files, untyped spots, circles of imports, and shapes that docstrings state."""

import ast
import graphlib
import re
import statistics
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.project.test_structure import MAPPED, ROOT, imported, module_name, parse, relative, sources

FOLDER, FILE, MEDIAN = 20, 400, 150  # files in a folder; lines of a file of the package at most, and in the middle
ANY, CAST, IGNORE = 80, 5, 10  # spots where types are not checked, at most


def statements(body: list[ast.stmt], later: bool = False) -> Iterator[ast.stmt]:
    """Those that run when a module is imported, not what type checkers alone read; `later`: of functions as well."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not later:
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from statements(node.orelse, later)
            continue
        yield node
        for field in ("body", "orelse", "finalbody"):
            yield from statements(getattr(node, field, []), later)
        for handler in getattr(node, "handlers", []):
            yield from statements(handler.body, later)


def needed(tree: ast.Module, name: str, is_package: bool, modules: set[str], later: bool = False) -> set[str]:
    """The modules of the package that this one imports; a package that merely holds it is none of them."""
    targets = set()
    for node in statements(tree.body, later):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        for _, base in imported(node, name, is_package):
            aliases = [f"{base}.{alias.name}" for alias in node.names] if isinstance(node, ast.ImportFrom) else []
            targets |= {alias for alias in aliases if alias in modules} or ({base} & modules)
    return {target for target in targets if not f"{name}.".startswith(f"{target}.")}


def circle(needs: dict[str, set[str]]) -> list[str]:
    """Modules that need one another in turn; empty where there are none."""
    try:
        graphlib.TopologicalSorter(needs).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


@pytest.mark.parametrize(
    ("source", "needs"),
    [
        ("from .b import f", {"supernet.space.b"}),
        ("from . import b", {"supernet.space.b"}),
        ("import supernet.ops", {"supernet.ops"}),
        ("from ..ops import operation", {"supernet.ops"}),
        (
            "try:\n    from .b import f\nexcept ImportError:\n    from . import c",
            {"supernet.space.b", "supernet.space.c"},
        ),
        ("from . import Space", set()),
        ("def f():\n    from .b import f", set()),
        ("if TYPE_CHECKING:\n    from .b import f", set()),
    ],
)
def test_what_an_import_needs(source: str, needs: set[str]) -> None:
    modules = {f"supernet.{name}" for name in ("ops", "space", "space.a", "space.b", "space.c")}
    assert needed(ast.parse(source), "supernet.space.a", False, modules) == needs


def graph(later: bool) -> dict[str, set[str]]:
    modules = {module_name(path): path for path in sources()}
    return {
        name: needed(parse(path), name, path.name == "__init__.py", set(modules), later)
        for name, path in modules.items()
    }


def test_no_circle_of_imports() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}})
    assert circle(graph(later=False)) == []


def test_no_circle_that_an_import_inside_of_a_function_hides() -> None:
    assert circle(graph(later=True)) == []


def test_no_folder_is_crowded() -> None:
    """Fixtures are data; what an import or a tool leaves is no file of ours."""
    rooms = [ROOT / room for room in ("supernet", *MAPPED, "tests", "benchmarks")]
    files = [path for room in rooms for path in room.rglob("*") if path.is_file() and path.name != "__init__.py"]
    own = [path for path in files if not {"__pycache__", "fixtures", ".hypothesis"} & set(path.relative_to(ROOT).parts)]
    crowds = Counter(relative(path.parent) for path in own)
    del crowds["conf/method"]  # Hydra's group of that name: a published method is one file of it
    assert {folder: number for folder, number in crowds.items() if number > FOLDER} == {}


def test_files_of_the_package_are_short() -> None:
    lengths = {relative(path): len(path.read_text(encoding="utf-8").splitlines()) for path in sources()}
    assert {name: number for name, number in lengths.items() if number > FILE} == {}
    assert statistics.median(lengths.values()) < MEDIAN


def test_few_spots_are_untyped() -> None:
    """These ceilings go down, never up: a value that may truly be anything is rare."""
    nodes = [node for path in sources() for node in ast.walk(parse(path))]
    anys = sum(isinstance(node, ast.Name) and node.id == "Any" for node in nodes)
    casts = sum(isinstance(node, ast.Call) and getattr(node.func, "id", "") == "cast" for node in nodes)
    ignores = sum(path.read_text(encoding="utf-8").count("# type: ignore") for path in sources())
    assert anys <= ANY and casts <= CAST and ignores <= IGNORE, f"Any {anys}, cast {casts}, type: ignore {ignores}"


# [B, C, H, W], [E, O], [N], [..., 3], [B * T, 2C] and [E][O], but not list[Tensor]; or in words.
_SIZE = r"(?:\.\.\.|[A-Z0-9(][\w ()*/+.-]*|c_in|c_out|[a-z](?:_\w+)?|\*\w+)"
SHAPE = re.compile(
    rf"(?<!\w)\[{_SIZE}(?:, ?{_SIZE})*\]|\b0-dim\b|\bscalars?\b|\b(?:the |same |equal |any )shapes?\b|\bshaped\b|\(B, "
)
Function = ast.FunctionDef | ast.AsyncFunctionDef


def takes_tensors(node: Function) -> bool:
    """Whether a type in its signature names Tensor or Parameter, also inside of a longer one or of a text."""
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
    types = [one.annotation for one in arguments if one is not None] + [node.returns]
    return any(re.search(r"\b(Tensor|Parameter)\b", ast.unparse(one)) for one in types if one is not None)


def public(tree: ast.Module) -> Iterator[tuple[str, Function, str]]:
    """(name, function, what its class says) of functions, methods and `forward`, but for those with an underscore."""
    for node in tree.body:
        if isinstance(node, Function) and not node.name.startswith("_"):
            yield node.name, node, ""
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for inner in node.body:
                if isinstance(inner, Function) and not inner.name.startswith("_"):
                    yield f"{node.name}.{inner.name}", inner, ast.get_docstring(node) or ""


def without_shape(path: Path) -> list[str]:
    """Functions with tensors in their signature and no shape in their docstring; for `forward` the class may say it."""
    return [
        f"{relative(path)}:{node.lineno} {name}"
        for name, node, of_class in public(parse(path))
        if takes_tensors(node)
        and not SHAPE.search(f"{ast.get_docstring(node) or ''}\n{of_class if node.name == 'forward' else ''}")
    ]


@pytest.mark.parametrize(
    ("text", "states"),
    [
        ("Maps x [B, C, H, W] to logits [B, K].", True),
        ("P [E, O] of each table.", True),
        ("The loss, a scalar.", True),
        ("Of the same shape.", True),
        ("Images [B, 3, H // 2, W // 2].", True),
        ("Any [..., 3].", True),
        ("The network's output.", False),
        ("A list[Tensor] of them, dict[str, Tensor].", False),
    ],
)
def test_what_counts_as_a_shape(text: str, states: bool) -> None:
    assert bool(SHAPE.search(text)) is states


def test_public_functions_of_tensors_state_shapes() -> None:
    offenders = [line for path in sources() for line in without_shape(path)]
    assert not offenders, "\n".join(offenders)
