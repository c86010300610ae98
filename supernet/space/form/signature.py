"""One short text for all that a space offers: two forms of a space, in Python and in YAML, have the same."""

import hashlib
import json
from collections.abc import Sequence

from ..decision import Decision, Integer, KOf
from ..genotype import JSON, Genotype
from ..space import Space

__all__ = ["signature"]


def signature(space: Space) -> str:
    """16 hex digits of the SHA-256 of name, version, arguments, tree, tables and macro.

    The tree counts with the kinds, options, groups, marks and defaults of its decisions, and with their order, which
    decides what a column of a table and a place of the flat vector mean.
    """
    args = Genotype(space.name, {}, args=space.args).args
    tables = [[t.name, t.rows, t.columns, t.mask] for t in space.tables]
    parts = [space.name, space.version, dict(args), _tree(space.root, ""), tables, space.macro]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _tree(decisions: Sequence[Decision], prefix: str) -> list[JSON]:
    return [_decision(decision, prefix + decision.name) for decision in decisions]


def _decision(decision: Decision, path: str) -> list[JSON]:
    kind: list[JSON] = [type(decision).__name__]
    if isinstance(decision, KOf):
        kind.append(decision.k)
    if isinstance(decision, Integer):
        kind += [decision.low, decision.high, decision.step]
    options = [[option, _tree(below, f"{path}/{option}/")] for option, below in decision.options.items()]
    default = decision.default or next(iter(decision.options))
    return [path, kind, decision.group or path, decision.mark, default, options]
