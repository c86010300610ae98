"""Cell spaces: small directed graphs that repeat through a network.

A cell has `inputs` input states and `nodes` intermediate nodes. An edge j -> i leads from an earlier state j to node i;
states are numbered inputs first. Three families, one a file, share the graph in `base.py`:

    TopKCells     (DARTS, arXiv:1806.09055)          each node keeps k different incoming edges, each with one operation
    EdgeCells     (NAS-Bench-201, arXiv:2001.00326)  each edge has one operation, "none" among them
    NasnetCells   (NASNet, arXiv:1707.07012)         each node sums two terms of any state

The relaxed view is one table a cell kind: rows are edges in the order 0-2, 1-2, 0-3, ..., columns are operations.
All three are made from plain data, here a cell of two nodes, one edge of which offers less than the others:

    TopKCells("mine", {}, kinds=["normal", "reduce"], reductions=["reduce"], inputs=2, nodes=2, k=2, macro="darts",
              operations=["none", "skip_connect", "sep_conv_3x3"], offered={"normal": {"0-2": ["skip_connect"]}})
"""

from .base import CellArguments, CellSpace, Edge, Offered
from .every_edge import EdgeCells
from .pairs import NasnetCells
from .top_k import TopKCells

__all__ = ["CellArguments", "CellSpace", "Edge", "EdgeCells", "NasnetCells", "Offered", "TopKCells"]
