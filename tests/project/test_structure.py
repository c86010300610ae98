"""The shape of the source: imports point down, files stay short, nothing from a file is executed, lists do not rot."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAPPED = ("ops", "cuda_kernels", "conf")  # folders at the top that are installed inside the package

# The rooms from the ground up: a room may import the rooms before it, and itself.
ROOMS = (
    "errors", "registry", "arguments", "files", "processor", "counter", "version", "config", "conf", "presets",
    "cuda_kernels", "ops", "space", "network", "data", "tasks", "cost", "methods", "runs", "runtime", "train",
    "evaluate", "store", "strategies", "meta", "export", "report", "stages", "timm_models", "api", "cli", "__init__",
    "__main__",
)  # fmt: skip
MAY_IMPORT = {room: set(ROOMS[:number]) | {"__init__"} for number, room in enumerate(ROOMS)}
OPEN_TO_ALL: set[str] = set()
# The decision tree, the genotype file and the command line answer without a second's wait for torch.
TORCH_FREE = ("supernet", "supernet.cli", "supernet.stages", "supernet.space", "supernet.space.genotype")


def module_name(path: Path) -> str:
    """Dotted name under which a source file is installed."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = ("supernet", *parts) if parts[0] in MAPPED else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources() -> list[Path]:
    return sorted(path for room in ("supernet", *MAPPED) for path in (ROOT / room).rglob("*.py"))


def others() -> list[Path]:
    return sorted(path for room in ("tests", "benchmarks") for path in (ROOT / room).rglob("*.py"))


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def room_of(name: str) -> str:
    """`supernet.space.tree` -> `space`; the package itself -> `__init__`."""
    room = (*name.split("."), "__init__")[1]
    return "__init__" if room == "__version__" else room


def imported(tree: ast.AST, name: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """(line, absolute dotted name) of every import in a file, also inside functions and under TYPE_CHECKING."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = name.split(".")
                above = parts[: len(parts) - node.level + is_package]
                base = ".".join([*above, base] if base else above)
            # `from . import x` and `from supernet import x` may name a room or a function of the package.
            deeper = base == "supernet"
            yield from ((node.lineno, f"{base}.{alias.name}" if deeper else base) for alias in node.names)


def wrong_imports(tree: ast.AST, name: str, is_package: bool) -> list[str]:
    room = room_of(name)
    if room not in MAY_IMPORT:
        return [f"{name}: the room {room!r} is in no layer; enter it in MAY_IMPORT of this test"]
    found = []
    for line, target in imported(tree, name, is_package):
        top = target.split(".")[0]
        if top in MAPPED:
            found.append(f"{name}:{line} imports {target} by its bare name")
        if top != "supernet":
            continue
        there = room_of(target)
        if there in MAY_IMPORT and there not in MAY_IMPORT[room] | OPEN_TO_ALL | {room}:
            found.append(f"{name}:{line} imports {target}; {room} may import {sorted(MAY_IMPORT[room])}")
        if there not in MAY_IMPORT and room != "__init__":
            found.append(f"{name}:{line} takes {target} from the package; import it from the module that defines it")
    return found


@pytest.mark.parametrize(
    ("source", "name", "wrong"),
    [
        ("from ..train import loop", "supernet.network.relaxed", True),
        ("def f():\n    from supernet.train.loop import x", "supernet.space.tree", True),
        ("import supernet.api", "supernet.methods.softmax", True),
        ("from .. import train", "supernet.network.relaxed", True),
        ("from ops import convolution", "supernet.space.cells", True),
        ("from .. import Choice", "supernet.network.relaxed", True),
        ("import torch", "supernet.nowhere.thing", True),
        ("from ..space import Space\nfrom ..errors import SupernetError", "supernet.network.relaxed", False),
        ("from .registry import OPERATIONS", "supernet.ops.pool", False),
        ("from ..registry import Registry", "supernet.ops.registry", False),
        ("from .. import __version__", "supernet.export.card", False),
    ],
)
def test_the_import_check_itself(source: str, name: str, wrong: bool) -> None:
    assert bool(wrong_imports(ast.parse(source), name, is_package=False)) is wrong


def test_imports_point_down_the_layers() -> None:
    wrong = [
        message
        for path in sources()
        for message in wrong_imports(parse(path), module_name(path), path.name == "__init__.py")
    ]
    assert not wrong, "\n".join(wrong)


def test_only_the_command_line_knows_hydra() -> None:
    """The loops take plain dataclasses, so that a notebook needs no configuration files."""
    users = {
        relative(path)
        for path in sources()
        for _, target in imported(parse(path), module_name(path), path.name == "__init__.py")
        if target.split(".")[0] in ("hydra", "omegaconf")
    }
    assert {name for name in users if not name.startswith("supernet/cli/")} == set()


@pytest.mark.parametrize("name", TORCH_FREE)
def test_these_modules_do_not_load_torch(name: str) -> None:
    code = f"import sys, {name}; sys.exit('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr or f"import {name} loads torch"


def test_files_are_short() -> None:
    lengths = {relative(path): len(path.read_text(encoding="utf-8").splitlines()) for path in sources() + others()}
    assert {name: n for name, n in lengths.items() if n > (500 if name.startswith("tests/") else 400)} == {}


def test_functions_are_short() -> None:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    lengths = {
        f"{relative(path)}:{node.lineno} {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path in sources() + others()
        for node in ast.walk(parse(path))
        if isinstance(node, kinds)
    }
    assert {name: n for name, n in lengths.items() if n > 60} == {}


def test_every_file_opens_with_a_docstring() -> None:
    assert [relative(path) for path in sources() + others() if not ast.get_docstring(parse(path))] == []


BARRED_CALLS = re.compile(
    r"((builtins\.)?(eval|exec|compile|__import__)|os\.(system|popen|exec\w+|spawn\w+)"
    r"|yaml\.(load|unsafe_load|full_load)|hydra\.utils\.(instantiate|call|get_\w+)"
    r"|torch\.(hub|jit|package)\.\w+|torch\.serialization\.\w+|(pd|pandas)\.read_pickle)"
)
BARRED_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}


def barred(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, what) of everything by which the content of a file could become code."""
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else names
            yield from ((node.lineno, module) for module in modules if module.split(".")[0] in BARRED_MODULES)
            if modules == ["hydra.utils"] or (modules == ["hydra"] and "utils" in names):
                yield node.lineno, "hydra.utils"
            if modules[0].split(".")[0] == "torch" and "load" in names:
                yield node.lineno, "torch.load by another name"
        elif isinstance(node, ast.Attribute) and ast.unparse(node) == "torch.load" and id(node) not in called:
            yield node.lineno, "torch.load handed on, where nobody sees its arguments"
        elif isinstance(node, ast.Call):
            yield from ((node.lineno, what) for what in barred_call(node))


def barred_call(node: ast.Call) -> Iterator[str]:
    called = ast.unparse(node.func)
    keywords = {k.arg: k.value for k in node.keywords}
    if BARRED_CALLS.fullmatch(called):
        yield called
    safe = keywords.get("weights_only")
    if (called == "torch.load" or safe) and not (isinstance(safe, ast.Constant) and safe.value is True):
        yield f"{called} without weights_only=True"
    plain = keywords.get("allow_pickle")
    if plain and not (isinstance(plain, ast.Constant) and plain.value is False):
        yield f"{called}(allow_pickle=...)"
    if isinstance(keywords.get("shell"), ast.Constant):
        yield f"{called}(shell=...)"


@pytest.mark.parametrize(
    "source",
    [
        "eval(text)",
        "exec(text)",
        "import pickle",
        "from pickle import loads",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "yaml.load(text)",
        "hydra.utils.instantiate(config)",
        "from hydra.utils import instantiate",
        "subprocess.run(line, shell=True)",
        "torch.load(path, weights_only=safe)",
        "torch.load(path, **options)",
        "load_checkpoint(net, path, weights_only=False)",
        "from torch import load",
        "from torch.serialization import load",
        "read = torch.load",
        "functools.partial(torch.load, weights_only=False)",
        "torch.serialization.add_safe_globals([Thing])",
        "torch.jit.load(path)",
        "np.load(path, allow_pickle=True)",
        "builtins.exec(text)",
        "os.popen(line)",
    ],
)
def test_the_check_for_execution_itself(source: str) -> None:
    assert list(barred(ast.parse(source)))
    assert not list(barred(ast.parse("model.eval(); torch.load(path, weights_only=True); re.compile(text)")))


def test_nothing_read_from_a_file_is_executed() -> None:
    found = [f"{relative(path)}:{line} {what}" for path in sources() for line, what in barred(parse(path))]
    assert not found, "\n".join(found)


def setuptools_table() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]


def test_the_package_list_equals_the_folders() -> None:
    folders = {path.parent for room in ("supernet", *MAPPED) for path in (ROOT / room).rglob("*.py")}
    assert [relative(folder) for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []
    table = setuptools_table()
    assert sorted(table["packages"]) == sorted(module_name(folder / "__init__.py") for folder in folders)
    assert table["package-dir"] == {f"supernet.{room}": room for room in MAPPED}


def test_every_data_file_is_packed() -> None:
    """A file beside the sources that no pattern names would be missing from the wheel, and only there."""
    packed = set()
    for package, patterns in setuptools_table()["package-data"].items():
        inside = package.removeprefix("supernet.") if package.split(".")[-1] in MAPPED else package.replace(".", "/")
        packed |= {path for pattern in patterns for path in (ROOT / inside).glob(pattern)}
    present = {path for room in ("supernet", *MAPPED) for path in (ROOT / room).rglob("*") if path.is_file()}
    data = {path for path in present if path.suffix not in (".py", ".pyc")}
    assert sorted(map(relative, data - packed)) == []


def test_git_ignores_no_source() -> None:
    """A pattern such as `data/` in .gitignore also names a package of ours, which then is missing from every clone."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("no git checkout")
    line = ["git", "check-ignore", "--no-index", *map(relative, sources() + others())]
    assert subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False).stdout == ""


@pytest.mark.parametrize("bare", MAPPED)
def test_the_bare_name_is_refused(bare: str) -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {bare}"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError")
    assert f"supernet.{bare}" in last


def test_no_test_needs_files_beside_the_checkout() -> None:
    """Such a test takes the fixture `shared`, which skips where there are none."""
    reaching = re.compile(r"""\.\./shared|/ *["']shared["']|["']shared/""")
    users = [path for path in others() if path.name not in ("conftest.py", Path(__file__).name)]
    assert [relative(path) for path in users if reaching.search(path.read_text(encoding="utf-8"))] == []
