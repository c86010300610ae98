"""What a foreign form is, how a text becomes plain values, and which form it is in."""

import ast
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ...errors import GenotypeError
from ...registry import Registry
from ..genotype import Genotype

__all__ = ["FORMS", "Call", "Value", "cells_genotype", "read_foreign"]

MOST = 20_000  # characters; a published cell has 400


@dataclass(frozen=True)
class Call:
    """`NAME(keyword=value, ...)` of a text, as data: a named tuple of another project."""

    name: str
    values: Mapping[str, "Value"]


Value = str | int | float | bool | None | list["Value"] | dict[str, "Value"] | Call  # tuples and ranges are lists

# A form: (whether plain values are in it, the genotype of them).
FORMS: Registry[tuple[Callable[[Value], bool], Callable[[Value], Genotype]]] = Registry("form of a genotype")


def read_foreign(text: str, where: str = "the genotype") -> Genotype | None:
    """The genotype that `text` holds in a foreign form; None where it is in none.

    Raises GenotypeError, with `where` and the line, for a text that begins like one and is not whole or does not fit.
    """
    text = text.strip()
    if not text:
        return None
    if text[0] not in "|([{":
        head, opens, _ = text.partition("(")
        if not opens or not head.rpartition("=")[2].strip().isidentifier():
            return None
    if len(text) > MOST:
        raise GenotypeError(f"{where} has {len(text)} characters; at most {MOST} of a foreign form are read")
    value = text if text.startswith("|") else _plain(text, where)
    for name in FORMS:
        fits, read = FORMS[name]
        if fits(value):
            try:
                return read(value).with_origin(form=name)
            except GenotypeError as error:
                raise GenotypeError(f"{where} is in the form {name}, and does not fit: {error}") from None
    return None


def cells_genotype(cells: Mapping[str, list[list[tuple[str, int]]]]) -> Genotype:
    """The DARTS genotype of nodes of (operation, input) terms by cell; raises GenotypeError for what is no point."""
    from ..registry import get_space

    nodes = {len(cell) for cell in cells.values()}
    if len(nodes) != 1:
        raise GenotypeError(f"the cells have {' and '.join(map(str, sorted(nodes)))} nodes; both must have as many")
    space = get_space("darts", nodes=nodes.pop())
    decisions: dict[str, str | tuple[str, ...]] = {}
    for kind, cell in cells.items():
        for number, terms in enumerate(cell, start=2):
            inputs = sorted(terms, key=lambda term: term[1])
            path = f"{kind}/node{number}/inputs"
            decisions[path] = tuple(str(source) for _, source in inputs)
            decisions |= {f"{path}/{source}/op": operation for operation, source in inputs}
    return space.genotype(decisions)


def _plain(text: str, where: str) -> Value:
    try:
        return _of_json(json.loads(text))
    except (ValueError, RecursionError):
        pass
    head, equals, rest = text.partition("=")
    body = rest if equals and head.strip().isidentifier() and "(" not in head else text  # NAME = Genotype(...)
    try:
        tree = ast.parse(body.strip(), mode="eval")
        return _of_node(tree.body)
    except SyntaxError as error:
        raise GenotypeError(f"{where}, line {error.lineno}: {error.msg}") from None
    except (RecursionError, MemoryError, ValueError) as error:
        raise GenotypeError(f"{where} cannot be read: {str(error)[:120] or type(error).__name__}") from None


def _of_json(value: object) -> Value:
    if isinstance(value, list):
        return [_of_json(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _of_json(item) for key, item in value.items()}
    assert value is None or isinstance(value, str | int | float)
    return value


def _of_node(node: ast.expr) -> Value:
    """Literals, lists, tuples, dicts, range(a, b) and NAME(key=...); ValueError, with the line, for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float | bool | None):
        return node.value
    if isinstance(node, ast.List | ast.Tuple):
        return [_of_node(item) for item in node.elts]
    if isinstance(node, ast.Dict) and all(isinstance(key, ast.Constant) for key in node.keys):
        pairs = zip(node.keys, node.values, strict=True)
        return {str(key.value): _of_node(item) for key, item in pairs if isinstance(key, ast.Constant)}
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        bounds = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
        if node.func.id == "range" and len(bounds) == len(node.args) in (1, 2) and not node.keywords:
            numbers = [bound for bound in bounds if isinstance(bound, int) and 0 <= bound <= 64]
            if len(numbers) == len(bounds):
                return list(range(*numbers))
        elif not node.args and all(keyword.arg for keyword in node.keywords):
            return Call(node.func.id, {str(keyword.arg): _of_node(keyword.value) for keyword in node.keywords})
    raise ValueError(f"line {node.lineno}: {ast.unparse(node)[:60]!r} is no plain value, and is not evaluated")
