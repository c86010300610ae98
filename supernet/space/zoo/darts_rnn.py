"""The recurrent cell of DARTS (Liu, Simonyan, Yang; arXiv:1806.09055, sections 2.1 and 3.1.2; the cell of Zoph and Le,
arXiv:1611.01578, section 3.4).

State 0 mixes the input with the hidden state, in a fixed form. Behind it, node i of 1..8 takes exactly one of its i
predecessors and one of 4 activations ("none" takes part in the search only), so there are 8! * 4^8 = 2.64e9 points and
one table of 36 edges. The output is the mean of the eight nodes.
"""

from collections.abc import Sequence

from ..cells import TopKCells
from ..registry import SPACES

__all__ = ["OPERATIONS", "darts_rnn"]

OPERATIONS = ("none", "tanh", "relu", "sigmoid", "identity")


@SPACES.register("darts_rnn")
def darts_rnn(nodes: int = 8, operations: Sequence[str] = OPERATIONS) -> TopKCells:
    """The space with `nodes` nodes behind state 0 and the candidate `operations`, in the order of the table."""
    return TopKCells(
        "darts_rnn",
        {"nodes": nodes, "operations": list(operations)},
        kinds=("recurrent",),
        k=1,
        inputs=1,
        nodes=nodes,
        operations=tuple(operations),
        macro="darts_rnn",
    )
