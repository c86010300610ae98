"""Points as sequences of choices, and children of two points."""

import random
from math import comb

import pytest

from supernet.space import get_space
from supernet.space.decision import KOf
from supernet.strategies.evolution.crossing import crossed
from supernet.strategies.sequence import choices_of, decide, every_choice

SPACES = ("nas_bench_macro", "darts", "mobilenetv3_like", "grammar", "autoformer_tiny")


@pytest.mark.parametrize("name", SPACES)
def test_a_sequence_is_the_point(name: str) -> None:
    space, rng = get_space(name), random.Random(0)
    known = every_choice(space.root)
    for _ in range(20):
        point = dict(space.sample(rng).decisions)
        steps = choices_of(space.root, point)
        assert len({step.name for step in steps}) == len(steps)
        assert all(known[step.name] >= step.allowed.stop > step.taken >= step.allowed.start for step in steps)
        taken = iter(steps)
        assert decide(space.root, lambda name, allowed, taken=taken: next(taken).taken) == point  # type: ignore[misc]


def test_each_set_of_items_has_one_sequence() -> None:
    items = KOf("inputs", {str(i): () for i in range(6)}, k=3)
    paths: list[tuple[int, ...]] = []

    def extend(taken: tuple[int, ...]) -> None:
        """All sequences that begin with `taken`."""
        seen: list[range] = []

        def choose(name: str, allowed: range) -> int:
            seen.append(allowed)
            return taken[len(seen) - 1] if len(seen) <= len(taken) else allowed[0]

        point = decide([items], choose)
        if len(seen) <= len(taken):
            paths.append(tuple(int(item) for item in point["inputs"]))  # type: ignore[union-attr]
            return
        for at in seen[len(taken)]:
            extend((*taken, at))

    extend(())
    assert len(paths) == len(set(paths)) == comb(6, 3)


@pytest.mark.parametrize("name", SPACES)
def test_a_child_is_a_point_made_of_its_parents(name: str) -> None:
    space, rng = get_space(name), random.Random(0)
    for _ in range(20):
        one, other = (dict(space.sample(rng).decisions) for _ in range(2))
        child = crossed(space.root, one, other, 0.5, rng)
        space.genotype(child)
        assert all(value in (one.get(path), other.get(path)) for path, value in child.items())
        assert crossed(space.root, one, other, 0.0, rng) == one
        assert crossed(space.root, one, other, 1.0, rng) == other
