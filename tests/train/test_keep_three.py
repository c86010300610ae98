"""A space file whose nodes keep three inputs each, from the file to a trained network."""

from pathlib import Path

import supernet
from supernet.space import CellSpace

FILE = """
schema: 1
name: three
cells: {family: top_k, macro: darts, kinds: [normal, reduce], reductions: [reduce], inputs: 2, nodes: 3, keep: 3,
        operations: [none, skip_connect, avg_pool_3x3, nor_conv_1x1]}
"""


def test_search_and_retraining(tmp_path: Path) -> None:
    (tmp_path / "three.yaml").write_text(FILE)
    settings = {
        "data": {"name": "digits", "limit": 64},
        "epochs": 1,
        "network": {"channels": 2, "layers": 3},
        "log": {"progress": False},
    }
    found = supernet.search(tmp_path / "three.yaml", **settings)
    space = found.net.space
    assert isinstance(space, CellSpace)
    for graph in space.graphs(found.genotype).values():
        sources = [sorted(term.source for term in terms) for terms in graph.nodes]
        assert [len(set(node)) for node in sources] == [2, 3, 3], "the first node has no more than both inputs"
    trained = supernet.retrain(found, **settings)
    assert trained.genotype == found.genotype and "test/top1" in trained.metrics
