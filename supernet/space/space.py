"""A search space: a tree of decisions with a name, and all that follows from the tree.

Size, sampling, neighbours, encoding, distance and hashes come from the tree alone. `tables` is its relaxed view, one
[E, O] table of strengths a name, and `project` the way back from strengths to a point. No torch here, but for
`Space(Net)`, which reads the choices of a user's own network.
"""

import hashlib
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import GenotypeError, SupernetError, unknown
from . import points
from .decision import Decision, KOf, Value, walk
from .genotype import JSON, Genotype
from .table import Active, Strengths, Table
from .written_form import WRITTEN_FORMS

if TYPE_CHECKING:  # nothing here needs torch before `Space(Net)` does
    from torch import nn

__all__ = ["Active", "CanonicalRule", "Space", "Strengths", "Table"]

CanonicalRule = Callable[[Mapping[str, Value]], str]  # decisions -> a text, equal for decisions of one network


class Space:
    """A named tree of decisions.

    `Space([...decisions...], name="mine")` takes a tree; `Space(Net)` takes the class of a network (or a function that
    makes one) and finds the choices in it: keyword arguments with a default (`num_classes=10`) become arguments of
    `Supernet(space, ...)` and `build(genotype, ...)`, and the tree must not depend on them. `macro` names the family of
    networks that the space is built as. `canonical` gives a text that is equal for decisions of one network; it is kept
    as `canonical_rule`.
    """

    def __init__(
        self,
        source: "Sequence[Decision] | Callable[..., nn.Module]",
        *,
        name: str | None = None,
        version: int = 1,
        args: Mapping[str, JSON] | None = None,
        macro: str = "",
        canonical: CanonicalRule | None = None,
    ) -> None:
        self.factory: Callable[..., nn.Module] | None = None
        if isinstance(source, str) or source is None:
            raise SupernetError(
                f"Space({source!r}) takes a network class; get_space({source!r}) gives a registered space"
            )
        if not isinstance(source, list | tuple) and not callable(source):
            raise SupernetError(f"Space({source!r:.60}) takes a network class, a function that makes one, or decisions")
        if callable(source):
            from .tree import read_choices  # needs torch

            self.factory = source
            source, network_name = read_choices(source)
            name, macro = name or network_name, macro or "module"
        self.root = tuple(source)
        self.name, self.version, self.args = name or "space", version, dict(args or {})
        self.macro, self.canonical_rule = macro, canonical
        paths = Counter(path for path, _ in walk(self.root))
        if not paths:
            raise SupernetError(f"space {self.name!r} has no decision; put a Choice into the network, in its __init__")
        if max(paths.values()) > 1:
            raise SupernetError(
                f"space {self.name!r}: two decisions have the path {max(paths, key=lambda p: paths[p])!r}"
            )
        self.groups = _groups(self.name, self.root)
        self._names = {path: decision.group or path for path, decision in walk(self.root)}

    def __repr__(self) -> str:
        return f"Space({self.name!r}, size={self.size:,})"

    @classmethod
    def from_yaml(cls, source: str | Path, allow: Sequence[str] = ()) -> "Space":
        """The space of a YAML file, or of a text of several lines; raises SupernetError with one line where it is none.

        `allow` has the prefixes of import paths whose classes the document may name; nothing else is imported from it.
        """
        form = WRITTEN_FORMS["yaml"]
        is_text = isinstance(source, str) and "\n" in source
        return form.read(str(source), allow) if is_text else form.load(source, allow)

    def to_yaml(self) -> str:
        """The YAML document of this space, which `from_yaml` reads to an equal one."""
        return WRITTEN_FORMS["yaml"].write(self)

    @property
    def size(self) -> int:
        """The exact number of points."""
        return points.size(self.root)

    def sample(self, rng: random.Random) -> Genotype:
        """A point drawn uniformly over all points."""
        return self.genotype(points.sample(self.root, rng))

    def points(self) -> Iterator[Genotype]:
        """Every point, lazily, in a fixed order."""
        return map(self.genotype, points.every_point(self.root))

    def neighbours(self, genotype: Genotype) -> Iterator[Genotype]:
        """Every point one decision apart, lazily, in a fixed order; being neighbours is symmetric."""
        self.validate(genotype)
        return map(self.genotype, points.neighbours(self.root, genotype.decisions))

    def random_neighbour(self, genotype: Genotype, rng: random.Random) -> Genotype:
        """One of `neighbours`, drawn without listing them; raises SupernetError where there is none.

        Each open decision with another option is equally likely, then each change of it (another option or number; of a
        k_of one item for another), then each point of what the change opens: a neighbour has the probability
        1 / (decisions * changes of its decision * points that the change opens). What opens much is not favoured.
        """
        self.validate(genotype)
        decisions = points.random_neighbour(self.root, genotype.decisions, rng)
        if decisions is None:
            raise SupernetError(f"space {self.name!r}: this point has no neighbour; all its open decisions are settled")
        return self.genotype(decisions)

    def encode(self, genotype: Genotype) -> list[int]:
        """The point as a flat vector, equally long for all points; -1 where a decision is closed."""
        self.validate(genotype)
        return points.encode(self.root, genotype.decisions)

    def decode(self, numbers: Sequence[int]) -> Genotype:
        """The point of a flat vector; raises SupernetError where it encodes none."""
        return self.genotype(points.decode(self.root, numbers))

    def distance(self, one: Genotype, other: Genotype) -> int:
        """The number of decisions, open in either, in which the two points differ; those of one group are one."""
        mine, theirs = (self._by_group(genotype) for genotype in (one, other))
        return sum(mine.get(name) != theirs.get(name) for name in mine.keys() | theirs.keys())

    def _by_group(self, genotype: Genotype) -> dict[str, Value]:
        self.validate(genotype)
        return {self._names[path]: value for path, value in genotype.decisions.items()}

    def hash(self, genotype: Genotype) -> str:
        """16 hex digits of the space's identity and the encoding."""
        return _digest([self.name, self.version, self.args, self.encode(genotype)])

    def canonical_hash(self, genotype: Genotype) -> str:
        """16 hex digits, equal for points that describe the same network."""
        self.validate(genotype)
        return _digest([self.name, self.version, self.args, self.canonical(genotype)])

    def canonical(self, genotype: Genotype) -> str:
        """A text that is equal for points which describe the same network; without a rule each point has its own."""
        if self.canonical_rule is not None:
            return self.canonical_rule(genotype.decisions)
        return str(points.encode(self.root, genotype.decisions))

    def genotype(self, decisions: Mapping[str, Value], **origin: JSON) -> Genotype:
        """The point with these `decisions`, validated."""
        point = Genotype(self.name, decisions, self.version, self.args, origin)
        self.validate(point)
        return point

    def validate(self, genotype: Genotype) -> None:
        """Raises GenotypeError, naming the decision, where `genotype` is no point of this space."""
        if not isinstance(genotype, Genotype):
            raise GenotypeError(
                f"this takes a Genotype, not {genotype!r:.60}; use published(name) or Genotype.load(path)"
            )
        if (genotype.space, genotype.version) != (self.name, self.version):
            raise GenotypeError(
                f"genotype of space {genotype.space[:80]!r} version {str(genotype.version)[:20]}; "
                f"this is {self.name!r} version {self.version}"
            )
        if dict(genotype.args) != Genotype(self.name, {}, args=self.args).args:
            raise GenotypeError(f"genotype of {self.name!r} with other arguments: {str(dict(genotype.args))[:120]}")
        left = dict(genotype.decisions)
        self._consume(self.root, left, "")
        if left:
            paths = [path for path, _ in walk(self.root)]
            raise GenotypeError(unknown("or closed decision", next(iter(left)), paths))

    def _consume(self, decisions: Sequence[Decision], left: dict[str, Value], prefix: str) -> None:
        for decision in decisions:
            path = prefix + decision.name
            if path not in left:
                raise GenotypeError(f"genotype lacks the decision {path!r} of space {self.name!r}")
            try:
                options = decision.taken(left.pop(path))
            except SupernetError as error:
                raise GenotypeError(str(error).replace(repr(decision.name), repr(path), 1)) from None
            for option in options:
                self._consume(decision.options[option], left, f"{path}/{option}/")

    @property
    def tables(self) -> tuple[Table, ...]:
        """The relaxed view: here one row a group of trainable decisions."""
        trainable = {name: d for name, d in self.groups.items() if d.mark == "trainable"}
        return tuple(Table(name, (name,), tuple(decision.options)) for name, decision in trainable.items())

    @property
    def searchable(self) -> dict[str, tuple[bool, ...]]:
        """Decisions without alphas: group -> which option is the default."""
        return {
            name: tuple(option == _default(decision) for option in decision.options)
            for name, decision in self.groups.items()
            if decision.mark == "searchable"
        }

    def active(self, genotype: Genotype) -> Active:
        """What `genotype` runs, by table and by searchable decision; those that are closed run nothing."""
        self.validate(genotype)
        active: Active = {name: [] for name in self.groups}
        for path, decision in walk(self.root):
            if path in genotype.decisions:
                names = list(decision.options)
                options = decision.taken(genotype.decisions[path])
                active[decision.group or path] = [(0, names.index(option)) for option in options]
        return active

    def dead(self, genotype: Genotype) -> str:
        """Why nothing of its input reaches the output of this point's network, in a few words; "" where it does.

        Known where a space knows which options pass nothing on: in cells, `none`.
        """
        return ""

    def competing(self, table: Table, row: int) -> tuple[int, ...]:
        """The columns that a projection chooses from on a row of a table; some spaces never take `none`."""
        return tuple(column for column, exists in enumerate(table.mask[row]) if exists)

    def input_margins(self, strengths: Strengths) -> list[tuple[str, str, str, str, float, float]]:
        """Of choices among rows: (table, what chooses, weakest taken, strongest left, both strengths); none here."""
        return []

    def project(self, strengths: Strengths) -> Genotype:
        """The point that the strengths of the relaxed view describe; SupernetError where they are no numbers.

        From the root down, each decision takes its strongest option, a searchable one its default.
        """
        self.check_strengths(strengths)
        point: dict[str, Value] = {}
        self._strongest(self.root, strengths, "", point)
        return self.genotype(point)

    def _strongest(
        self, decisions: Sequence[Decision], strengths: Strengths, prefix: str, point: dict[str, Value]
    ) -> None:
        for decision in decisions:
            path, names = prefix + decision.name, list(decision.options)
            if decision.mark == "trainable":
                row = strengths[decision.group or path][0]
            else:
                row = [float(name == _default(decision)) for name in names]
            best = sorted(range(len(row)), key=lambda i: -row[i])  # stable: of equals the first
            options = tuple(names[i] for i in sorted(best[: decision.k if isinstance(decision, KOf) else 1]))
            point[path] = points.value_of(decision, options)
            for option in options:
                self._strongest(decision.options[option], strengths, f"{path}/{option}/", point)

    def check_strengths(self, strengths: Strengths) -> None:
        """Raises SupernetError where `strengths` lacks a table, has another shape or holds a NaN."""
        for table in self.tables:
            rows = strengths.get(table.name)
            if rows is None or (len(rows), *{len(row) for row in rows}) != table.shape:
                raise SupernetError(f"strengths of table {table.name!r} must have the shape {table.shape}")
            if any(isnan(value) for row in rows for value in row):
                raise SupernetError(
                    f"table {table.name!r} holds NaN: the search has diverged; lower alphas.lr or weights.lr"
                )


def _default(decision: Decision) -> str:
    return decision.default or next(iter(decision.options))


def _groups(space: str, root: Sequence[Decision]) -> dict[str, Decision]:
    """Group -> its first decision; raises SupernetError where the decisions of one group differ in their options."""
    groups: dict[str, Decision] = {}
    for path, decision in walk(root):
        first = groups.setdefault(decision.group or path, decision)
        if (type(first), list(first.options), first.mark) != (type(decision), list(decision.options), decision.mark):
            raise SupernetError(
                f"space {space!r}: decision {path!r} has other options than the others of its group {decision.group!r}"
            )
    return groups


def _digest(parts: list[JSON]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
