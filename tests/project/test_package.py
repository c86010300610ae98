"""The package from outside: light to import, lazy names that resolve, examples in docstrings that hold."""

import ast
import doctest
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import supernet

ROOT = Path(__file__).resolve().parents[2]

PUBLIC = {
    "Activation",
    "Attention",
    "Augment",
    "Choice",
    "Conv2d",
    "Genotype",
    "Linear",
    "Norm",
    "Repeat",
    "Resize",
    "Space",
    "Supernet",
    "SupernetError",
    "__version__",
    "allow_networks",
    "build",
    "export_model",
    "get_space",
    "published",
    "recalibrate",
    "retrain",
    "rounded",
    "search",
    "wrap",
}


def python(code: str, cwd: Path) -> str:
    """Standard output of a fresh interpreter; its error output fails the test."""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=cwd)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_public_names_are_these() -> None:
    """A new name is a promise to users: it is entered here on purpose."""
    assert set(supernet.__all__) == PUBLIC
    assert set(dir(supernet)) >= PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_a_public_name_resolves(name: str) -> None:
    assert getattr(supernet, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Chioce'"):
        supernet.Chioce  # noqa: B018


def test_no_public_name_is_hidden_by_a_submodule() -> None:
    """Importing a submodule sets an attribute of its name on the package, over a lazy name that is equal."""
    inside = {path.stem for path in (ROOT / "supernet").iterdir()} | {"ops", "cuda_kernels", "conf"}
    assert PUBLIC & inside == {"__version__"} & inside


def test_what_type_checkers_see_is_what_is_loaded() -> None:
    tree = ast.parse((ROOT / "supernet" / "__init__.py").read_text(encoding="utf-8"))
    (seen,) = (n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")
    static = {a.name: n.module for n in seen.body if isinstance(n, ast.ImportFrom) for a in n.names}
    assert static == supernet._HOME
    assert set(static) | {"__version__"} == PUBLIC


def test_the_import_is_light(tmp_path: Path) -> None:
    """Counted in modules, not in milliseconds: a busy machine fails no test."""
    code = """
import json, sys
before = set(sys.modules)
import supernet
print(json.dumps(sorted({name.split(".")[0] for name in set(sys.modules) - before})))
"""
    loaded = set(json.loads(python(code, tmp_path)))
    assert loaded <= {"supernet", *sys.stdlib_module_names}


def test_a_bare_checkout_finds_the_folders_beside_it(tmp_path: Path) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
import supernet, supernet.conf, supernet.cuda_kernels
print(supernet.conf.__file__)
"""
    assert Path(python(code, tmp_path).strip()) == ROOT / "conf" / "__init__.py"


def test_another_package_named_ops_is_not_taken_for_ours(tmp_path: Path) -> None:
    """Beside an installed package may lie the package `ops` of someone else: all three folders must be there."""
    site = tmp_path / "site"
    (site / "ops").mkdir(parents=True)
    (site / "ops" / "__init__.py").write_text("raise SystemExit('a stranger ran')")
    (site / "supernet").mkdir()
    for name in ("__init__.py", "version.py"):
        (site / "supernet" / name).write_text((ROOT / "supernet" / name).read_text(encoding="utf-8"))
    code = f"""
import sys
sys.path.insert(0, {str(site)!r})
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
import supernet
try:
    import supernet.ops
except ModuleNotFoundError:
    print("refused")
"""
    assert python(code, tmp_path).strip() == "refused"


def with_examples() -> list[str]:
    found = []
    for room, prefix in (("supernet", ""), ("ops", "supernet."), ("cuda_kernels", "supernet.")):
        for path in sorted((ROOT / room).rglob("*.py")):
            if ">>> " in path.read_text(encoding="utf-8"):
                name = prefix + ".".join(path.relative_to(ROOT).with_suffix("").parts)
                found.append(name.removesuffix(".__init__"))
    return found


@pytest.mark.parametrize("name", with_examples())
def test_the_examples_in_docstrings_hold(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = doctest.testmod(importlib.import_module(name))
    assert outcome.attempted > 0
    assert outcome.failed == 0
