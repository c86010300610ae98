"""The tree, the genotype, the cell spaces and their written form answer without loading torch."""

import subprocess
import sys

CODE = """
import random, sys
from supernet.space import Genotype, Integer, OneOf, Space, get_space, published, published_names

rng = random.Random(0)
tree = Space([OneOf("op", {"a": (Integer("n", 1, 3),), "b": ()})])
for space in (tree, get_space("darts"), get_space("nasbench201"), get_space("nasnet"), get_space("s1")):
    point = space.sample(rng)
    assert space.decode(space.encode(point)) == point == Genotype.from_json(point.to_json())
    assert space.distance(point, space.random_neighbour(point, rng)) and next(space.neighbours(point)) != point
    strengths = {t.name: [[rng.random() for _ in t.columns] for _ in t.rows] for t in space.tables}
    space.canonical_hash(space.project(strengths))
    assert Space.from_yaml(space.to_yaml()).to_yaml() == space.to_yaml()
assert len([published(name) for name in published_names()]) == 30
sys.exit("torch" in sys.modules)
"""


def test_spaces_answer_without_torch() -> None:
    result = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr or "something here loads torch"
