"""The decision tree: size, sampling, neighbours, vectors and distance against plain enumeration of small trees."""

import random
from collections import Counter
from collections.abc import Mapping
from itertools import combinations, product
from math import prod, sqrt

import pytest

from supernet.errors import SupernetError
from supernet.space import Decision, Genotype, Integer, KOf, OneOf, Space
from supernet.space.decision import Value, walk

LEAF = (OneOf("leaf", {"a": (), "b": (), "c": ()}),)
DEPTH = (Integer("depth", 2, 8, 3),)
TREES: dict[str, list[Decision]] = {
    "one": [OneOf("op", {"a": (), "b": ()})],
    "integer": [Integer("width", -4, 4, 4), Integer("only", 7, 7)],
    "conditional": [OneOf("top", {"x": LEAF, "y": (), "z": (*LEAF, *DEPTH)}), OneOf("side", {"l": (), "r": ()})],
    "k_of": [KOf("two", {"0": LEAF, "1": (), "2": DEPTH, "3": LEAF}, k=2)],
    "k_of all": [KOf("all", {"0": LEAF, "1": DEPTH}, k=2)],
    "wide": [
        *LEAF,
        KOf("pair", dict.fromkeys("abcd", ()), k=2),
        Integer("n", 0, 2),
        OneOf("last", {"x": LEAF, "y": ()}),
    ],
    "deep": [
        OneOf("a", {"x": (KOf("b", {"p": DEPTH, "q": (OneOf("c", {"u": LEAF, "v": ()}),), "r": ()}, k=2),), "y": ()})
    ],
}


def random_tree(rng: random.Random, depth: int = 3) -> list[Decision]:
    def decision(i: int, depth: int) -> Decision:
        kind = rng.choice(["one", "k", "int"])
        if kind == "int":
            return Integer(f"d{i}", 0, rng.randint(0, 2))
        options = {str(o): below(depth - 1) for o in range(rng.randint(1, 3))}
        return KOf(f"d{i}", options, k=rng.randint(1, len(options))) if kind == "k" else OneOf(f"d{i}", options)

    def below(depth: int) -> tuple[Decision, ...]:
        return tuple(decision(i, depth) for i in range(rng.choice([0, 0, 1, 2]))) if depth > 0 else ()

    return [decision(0, depth), decision(1, 1)]


def values(decision: Decision) -> list[Value]:
    names = list(decision.options)
    if isinstance(decision, KOf):
        return [tuple(c) for c in combinations(names, decision.k)]
    return [int(n) for n in names] if isinstance(decision, Integer) else names


def enumerate_points(tree: list[Decision]) -> list[dict[str, Value]] | None:
    """Every assignment of a value or "closed" to every decision, of which the consistent ones stay."""
    decisions = dict(walk(tree))
    if prod(len(values(d)) + 1 for d in decisions.values()) > 30_000:
        return None
    opened_by = {
        f"{path}/{option}/{below.name}": (path, option)
        for path, d in decisions.items()
        for option, belows in d.options.items()
        for below in belows
    }
    found = []
    for choice in product(*([None, *values(d)] for d in decisions.values())):
        point = dict(zip(decisions, choice, strict=True))

        def is_open(path: str, point: dict[str, Value | None] = point) -> bool:
            if path not in opened_by:
                return True
            parent, option = opened_by[path]
            value = point[parent]
            return value is not None and option in (value if isinstance(value, tuple) else (str(value),))

        if all((value is not None) == is_open(path) for path, value in point.items()):
            found.append({path: value for path, value in point.items() if value is not None})
    return found


def small_trees() -> dict[str, tuple[list[Decision], list[dict[str, Value]]]]:
    rng = random.Random(0)
    candidates = TREES | {f"random {i}": random_tree(rng) for i in range(60)}
    found = {name: (tree, enumerate_points(tree)) for name, tree in candidates.items()}
    return {name: (tree, points) for name, (tree, points) in found.items() if points is not None and len(points) <= 400}


SMALL = small_trees()


def key(point: Mapping[str, Value]) -> tuple[tuple[str, Value], ...]:
    return tuple(sorted(point.items()))


def one_decision_apart(a: Mapping[str, Value], b: Mapping[str, Value]) -> bool:
    """One decision, open in both, takes another value (of a set: one item); all else but what hangs there agrees."""
    differ = {p for p in a.keys() | b.keys() if a.get(p) != b.get(p)}
    for path in differ & a.keys() & b.keys():
        old, new = (set(v) if isinstance(v, tuple) else {str(v)} for v in (a[path], b[path]))
        if len(old - new) == len(new - old) == 1:
            branches = tuple(f"{path}/{option}/" for option in old ^ new)
            if all(p == path or p.startswith(branches) for p in differ):
                return True
    return False


def test_enough_small_trees_are_tried() -> None:
    assert set(TREES) < set(SMALL) and len(SMALL) >= 40
    assert {type(d) for tree, _ in SMALL.values() for _, d in walk(tree)} == {OneOf, KOf, Integer}
    assert max(len(points) for _, points in SMALL.values()) > 100


@pytest.mark.parametrize("name", SMALL)
def test_size_and_points_are_those_of_plain_enumeration(name: str) -> None:
    tree, expected = SMALL[name]
    space = Space(tree)
    points = list(space.points())
    assert space.size == len(points) == len(expected)
    assert {key(g.decisions) for g in points} == {key(p) for p in expected}
    assert len({g.hash for g in points}) == len({space.hash(g) for g in points}) == space.size


def test_sizes_by_hand() -> None:
    assert Space(TREES["conditional"]).size == (3 + 1 + 3 * 3) * 2
    assert Space(TREES["k_of"]).size == 3 * 1 + 3 * 3 + 3 * 3 + 1 * 3 + 1 * 3 + 3 * 3
    assert Space(TREES["integer"]).size == 3
    assert Space([Integer("width", 0, 9_999)]).size == 10_000


@pytest.mark.parametrize("name", SMALL)
def test_neighbours_are_those_of_the_definition(name: str) -> None:
    tree, expected = SMALL[name]
    space = Space(tree)
    points = [Genotype(space.name, p) for p in expected[:: max(1, len(expected) // 40)]]
    for point in points:
        found = [key(g.decisions) for g in space.neighbours(point)]
        assert len(found) == len(set(found))
        assert set(found) == {key(p) for p in expected if one_decision_apart(point.decisions, p)}
        for other in list(space.neighbours(point))[:5]:
            assert point in set(space.neighbours(other)), "being neighbours is symmetric"


# Two depths whose blocks are the same decisions: what stands in both keeps its value.
GROUPED = [
    Integer(
        "depth",
        1,
        3,
        opens={
            str(n): tuple(OneOf(f"block{i}", {"a": LEAF, "b": (), "c": ()}, group=f"block{i}") for i in range(n))
            for n in (1, 2, 3)
        },
    ),
    KOf("pair", {"0": (), "1": LEAF, "2": ()}, k=2),
]


def probabilities(space: Space, point: Genotype) -> dict[tuple[tuple[str, Value], ...], float]:
    """Of each neighbour, from the list of all: the decision, its new value, what that opens, each step uniform."""
    changes: dict[str, dict[Value, list[Mapping[str, Value]]]] = {}
    for neighbour in space.neighbours(point):
        there, here = neighbour.decisions, point.decisions
        path = min((p for p in here if p in there and here[p] != there[p]), key=len)
        changes.setdefault(path, {}).setdefault(there[path], []).append(there)
    return {
        key(ways[i]): 1 / len(changes) / len(new_values) / len(ways)
        for new_values in changes.values()
        for ways in new_values.values()
        for i in range(len(ways))
    }


@pytest.mark.parametrize("name", [*TREES, "grouped"])
def test_a_random_neighbour_is_a_neighbour_with_the_stated_probability(name: str) -> None:
    """Chi-square against the list of all neighbours, five standard deviations; every neighbour can be drawn."""
    space, rng, draws = Space(GROUPED if name == "grouped" else TREES[name]), random.Random(0), 1500
    every = list(space.points())
    for point in every[:: max(1, len(every) // 4)]:
        expected = probabilities(space, point)
        assert sum(expected.values()) == pytest.approx(1)
        seen = Counter(key(space.random_neighbour(point, rng).decisions) for _ in range(draws))
        assert set(seen) <= set(expected)
        assert all(p in seen for p, probability in expected.items() if probability * draws > 30)
        chi_square = sum((seen[p] - draws * q) ** 2 / (draws * q) for p, q in expected.items())
        freedom = len(expected) - 1
        assert abs(chi_square - freedom) <= 5 * sqrt(2 * freedom) + 1e-9, f"{chi_square=:.1f} of {freedom}"


@pytest.mark.parametrize("name", SMALL)
def test_random_neighbours_are_among_the_neighbours(name: str) -> None:
    tree, expected = SMALL[name]
    space, rng = Space(tree), random.Random(0)
    for p in expected[:: max(1, len(expected) // 5)]:
        point = Genotype(space.name, p)
        near = set(space.neighbours(point))
        if not near:
            with pytest.raises(SupernetError, match="no neighbour"):
                space.random_neighbour(point, rng)
            continue
        for _ in range(20):
            assert space.random_neighbour(point, rng) in near


def test_a_random_neighbour_of_a_large_space_is_drawn_without_listing_them() -> None:
    """A decision that opens 100^10 points, and twenty thousand numbers."""
    below = tuple(Integer(f"n{i}", 1, 100) for i in range(10))
    space = Space([OneOf("top", {"x": (), "y": below}), Integer("wide", 1, 20_000)])
    rng, point = random.Random(0), space.genotype({"top": "x", "wide": 7})
    changed = Counter()
    for _ in range(200):
        neighbour = space.random_neighbour(point, rng)
        changed[neighbour.decisions["top"] == "y", neighbour.decisions["wide"] != 7] += 1
    assert set(changed) == {(True, False), (False, True)} and min(changed.values()) > 60


@pytest.mark.parametrize("name", SMALL)
def test_vectors_go_both_ways_and_no_other_vector_is_read(name: str) -> None:
    tree, expected = SMALL[name]
    space = Space(tree)
    vectors = {}
    for p in expected:
        point = Genotype(space.name, p)
        vectors[tuple(space.encode(point))] = point
        assert space.decode(space.encode(point)) == point
        assert Genotype.from_json(point.to_json()) == point
    assert len(vectors) == len(expected)
    (length,) = {len(v) for v in vectors}
    rng = random.Random(1)
    low, high = -2, max(max(v) for v in vectors) + 1
    for _ in range(300):
        near = list(rng.choice(list(vectors)))
        near[rng.randrange(length)] = rng.randint(low, high)
        if tuple(near) in vectors:
            assert space.decode(near) == vectors[tuple(near)]
        else:
            with pytest.raises(SupernetError):
                space.decode(near)
    for wrong in (near[:-1], [*next(iter(vectors)), 0], [0.0] * length, [True] * length, ["0"] * length):
        with pytest.raises(SupernetError):
            space.decode(wrong)


@pytest.mark.parametrize("name", ["conditional", "k_of", "k_of all", "deep"])
def test_sampling_is_uniform_over_points(name: str) -> None:
    """Chi-square against the enumeration: five standard deviations; a draw per decision is off by hundreds."""
    tree, expected = SMALL[name]
    space, rng, draws = Space(tree), random.Random(0), 100 * len(expected)
    seen = Counter(key(space.sample(rng).decisions) for _ in range(draws))
    assert set(seen) == {key(p) for p in expected}
    mean, freedom = draws / len(expected), len(expected) - 1
    chi_square = sum((seen[key(p)] - mean) ** 2 / mean for p in expected)
    assert abs(chi_square - freedom) < 5 * sqrt(2 * freedom), f"{chi_square=:.1f} of {freedom} degrees of freedom"


def test_sampling_repeats_with_its_generator() -> None:
    space = Space(TREES["deep"])
    one, two = random.Random(3), random.Random(3)
    assert [space.sample(one) for _ in range(20)] == [space.sample(two) for _ in range(20)]


@pytest.mark.parametrize("name", ["conditional", "k_of", "deep"])
def test_distance_is_a_metric(name: str) -> None:
    tree, expected = SMALL[name]
    space, rng = Space(tree), random.Random(0)
    for _ in range(300):
        a, b, c = (Genotype(space.name, rng.choice(expected)) for _ in range(3))
        paths = {*a.decisions, *b.decisions}
        assert space.distance(a, b) == sum(a.decisions.get(p) != b.decisions.get(p) for p in paths)
        assert space.distance(a, b) == space.distance(b, a)
        assert (space.distance(a, b) == 0) == (a == b)
        assert space.distance(a, c) <= space.distance(a, b) + space.distance(b, c)


@pytest.mark.parametrize(
    "make",
    [
        lambda: OneOf("", {"a": ()}),
        lambda: OneOf("d", {}),
        lambda: OneOf("d", {"a/b": ()}),
        lambda: KOf("d", {"a": ()}, k=2),
        lambda: KOf("d", {"a": ()}, k=0),
        lambda: Integer("d", 3, 2),
        lambda: Integer("d", 0, 3, 0),
        lambda: Integer("d", 0, 10**9),
        lambda: Space([]),
        lambda: Space([OneOf("d", {"a": ()}), OneOf("d", {"b": ()})]),
    ],
)
def test_trees_that_make_no_sense_are_refused(make: object) -> None:
    with pytest.raises(SupernetError):
        make()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("decisions", "message"),
    [
        ({"top": "x", "side": "l"}, "lacks the decision 'top/x/leaf'"),
        ({"top": "y", "side": "l", "top/x/leaf": "a"}, "unknown or closed decision 'top/x/leaf'"),
        ({"top": "w", "side": "l"}, r"'top' = 'w' is not allowed; allowed: one of \['x', 'y', 'z'\]"),
        ({"top": ["x"], "side": "l", "top/x/leaf": "a"}, "'top' = "),
        ({"top": "z", "side": "l", "top/z/leaf": "a", "top/z/depth": 3}, r"'top/z/depth' = 3 .*2\.\.8 by 3"),
        ({"top": "z", "side": "l", "top/z/leaf": "a", "top/z/depth": "2"}, "'top/z/depth' = '2'"),
        ({"top": "y"}, "lacks the decision 'side'"),
        ({"top": "y", "side": "l", "sidee": "l"}, "did you mean 'side'"),
    ],
)
def test_validation_names_the_decision(decisions: dict[str, Value], message: str) -> None:
    space = Space(TREES["conditional"])
    with pytest.raises(SupernetError, match=message):
        space.validate(Genotype(space.name, decisions))


@pytest.mark.parametrize("value", [("1", "0"), ("0",), ("0", "0"), ("0", "1", "2"), ("0", "9"), "0", 0])
def test_a_set_stands_in_order_and_without_repeats(value: Value) -> None:
    with pytest.raises(SupernetError, match="2 different of"):
        KOf("two", {"0": (), "1": (), "2": ()}, k=2).taken(value)
