"""CoDeepNEAT on a tree: blueprints and modules evolve side by side (Miikkulainen et al., 2017, arXiv:1703.00548).

module      how some neighbouring decisions of the root are taken, with all they open
blueprint   for each slot, that is each run of `span` neighbouring decisions, which module fills it
network     a blueprint with its modules put in
fitness     of a module or a blueprint: the mean score of the networks that have used it

Slots that offer the same decisions are of one species and share their modules. Every `generation` networks the worse
half of the blueprints and of each species' modules is replaced by mutated and crossed copies of the better half. The
paper evolves graphs of layers by NEAT; here the space says what a module may be, and the division of work is the same.
"""

import random
from collections.abc import Sequence

from ...errors import SupernetError
from ...space import Genotype, Space
from ...space.decision import Decision, walk
from ...space.points import Point, decode, encode, random_neighbour, sample
from ..strategy import STRATEGIES, Strategy, Vector

__all__ = ["Coevolution"]

Blueprint = tuple[int, ...]  # a module's number for each slot


@STRATEGIES.register("codeepneat")
class Coevolution(Strategy):
    """`blueprints` and `modules` (of each species) are the sizes of the populations; `span` decisions are a slot."""

    name = "codeepneat"
    remembers = ("plans", "parts", "pending", "count", "made")

    def __init__(
        self, space: Space, seed: int = 0, blueprints: int = 10, modules: int = 6, span: int = 2, generation: int = 10
    ) -> None:
        super().__init__(space, seed)
        for key, value, least in (("blueprints", blueprints, 2), ("modules", modules, 2), ("span", span, 1),
                                  ("generation", generation, 1)):  # fmt: skip
            if value < least:
                raise SupernetError(f"strategy codeepneat: {key}={value} must be {least} or more")
        self.sizes = (blueprints, modules)
        self.generation = generation
        self.slots = [space.root[at : at + span] for at in range(0, len(space.root), span)]
        if len(self.slots) < 2:
            raise SupernetError(
                f"strategy codeepneat takes the decisions at the root of a space apart, and space {space.name!r} has "
                f"{len(space.root)}; take strategy=regularised_evolution, or a smaller span"
            )
        if shared := _shared(self.slots):
            raise SupernetError(
                f"strategy codeepneat: decisions of group {shared!r} of space {space.name!r} stand in two modules and "
                "must agree; take strategy=regularised_evolution, or a larger span"
            )
        kinds: list[str] = [_kind(slot) for slot in self.slots]
        self.species = [kinds.index(kind) for kind in kinds]  # slot -> the first slot of its kind
        self.plans: list[tuple[Blueprint, float, int]] = []  # (blueprint, sum of scores, networks)
        self.parts: dict[str, tuple[int, Vector, float, int]] = {}  # number -> (species, vector, sum, networks)
        self.pending: list[tuple[Vector, Blueprint]] = []  # networks that were proposed and not told
        self.count = 0  # networks told since the last generation
        self.made = 0  # modules so far

    def propose(self, rng: random.Random) -> Genotype:
        if not self.plans:
            self._begin(rng)
        elif self.count >= self.generation:
            self._renew(rng)
        least = min(uses for _, _, uses in self.plans)
        plan = rng.choice([plan for plan in self.plans if plan[2] == least])[0]
        decisions: Point = {}
        for slot, number in zip(self.slots, plan, strict=True):
            decisions |= decode(slot, self.parts[str(number)][1])
        point = self.space.genotype(decisions)
        self.pending.append((tuple(self.space.encode(point)), plan))
        del self.pending[:-1000]  # a network that is never told must not stay for ever
        return point

    def learn(self, vector: Vector, score: float) -> None:
        """Points that were not proposed teach nothing: no module is theirs."""
        at = next((i for i, (known, _) in enumerate(self.pending) if known == vector), None)
        if at is None:
            return
        _, plan = self.pending.pop(at)
        self.count += 1
        self.plans = [
            (own, total + score, uses + 1) if own == plan else (own, total, uses) for own, total, uses in self.plans
        ]
        for number in map(str, sorted(set(plan))):
            if number in self.parts:
                kind, module, total, uses = self.parts[number]
                self.parts[number] = (kind, module, total + score, uses + 1)

    def _begin(self, rng: random.Random) -> None:
        for kind in sorted(set(self.species)):
            for _ in range(self.sizes[1]):
                self._add(kind, tuple(encode(self.slots[kind], sample(self.slots[kind], rng))))
        for _ in range(self.sizes[0]):
            self.plans.append((tuple(int(rng.choice(self._of(kind))) for kind in self.species), 0.0, 0))

    def _add(self, kind: int, vector: Vector) -> int:
        self.parts[str(self.made)] = (kind, vector, 0.0, 0)
        self.made += 1
        return self.made - 1

    def _of(self, kind: int) -> list[str]:
        return [number for number, part in self.parts.items() if part[0] == kind]

    def _renew(self, rng: random.Random) -> None:
        """The next generation of both populations."""
        self.count = 0
        for kind in sorted(set(self.species)):
            ranked = sorted(self._of(kind), key=lambda number: -_fitness(*self.parts[number][2:]))
            better = ranked[: max(1, len(ranked) // 2)]
            for number in ranked[len(better) :]:
                del self.parts[number]
                slot = self.slots[kind]
                changed = random_neighbour(slot, decode(slot, self.parts[rng.choice(better)][1]), rng)
                if changed is not None:
                    self._add(kind, tuple(encode(slot, changed)))
        ranked_plans = sorted(self.plans, key=lambda plan: -_fitness(*plan[1:]))
        better_plans = [plan[0] for plan in ranked_plans[: max(1, len(ranked_plans) // 2)]]
        plans = [self._repaired(plan, rng) for plan in better_plans]
        while len(plans) < self.sizes[0]:
            one, other = rng.choice(better_plans), rng.choice(better_plans)
            child = [rng.choice(pair) for pair in zip(one, other, strict=True)]
            slot_number = rng.randrange(len(child))
            child[slot_number] = int(rng.choice(self._of(self.species[slot_number])))
            plans.append(self._repaired(tuple(child), rng))
        kept = {plan[0]: plan for plan in self.plans}
        self.plans = [kept.get(plan, (plan, 0.0, 0)) for plan in plans]

    def _repaired(self, plan: Blueprint, rng: random.Random) -> Blueprint:
        """The blueprint with modules that live in the places of those that died."""
        return tuple(
            number if str(number) in self.parts else int(rng.choice(self._of(kind)))
            for number, kind in zip(plan, self.species, strict=True)
        )


def _shared(slots: Sequence[Sequence[Decision]]) -> str:
    """A group that has decisions in two slots; "" where none has."""
    seen: dict[str, int] = {}
    for number, slot in enumerate(slots):
        for _, decision in walk(slot):
            if decision.group and seen.setdefault(decision.group, number) != number:
                return decision.group
    return ""


def _fitness(total: float, uses: int) -> float:
    """The mean score; what was not used yet is judged last and stays."""
    return total / uses if uses else float("inf")


def _kind(decisions: Sequence[Decision]) -> str:
    """A text that is equal for slots which offer the same."""
    return repr([
        (type(d).__name__, list(d.options), getattr(d, "k", 1), _kind(_below(d)), d.group) for d in decisions
    ])  # fmt: skip


def _below(decision: Decision) -> list[Decision]:
    return [deeper for below in decision.options.values() for deeper in below]
