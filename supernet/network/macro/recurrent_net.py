"""The network around a recurrent cell (DARTS, arXiv:1806.09055, section 3.1.2; Zoph and Le, arXiv:1611.01578).

    embedding K x H, dropout | the cell, T steps from a hidden state of zeros | dropout, linear H to K

It guesses the next character at every step. The search has a norm behind each state, the final network none;
`norm` of "layer", "batch" or "none" says otherwise (recurrent_cell.py says why).
"""
# B batch, T time steps, K characters, H hidden units, E edges, O operations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

from torch import Tensor, nn

from ...errors import SupernetError
from ...space.cells import CellSpace
from ...space.genotype import Genotype
from ...space.space import Space
from ..body import Body
from ..cells.recurrent import DiscreteRecurrentCell, MixedRecurrentCell
from ..executor import Executor, make_executor
from ..inherit import inherit
from ..mixture import Mixture
from .discrete import build_from, shared_arguments
from .registry import MACROS, Macro

__all__ = ["RecurrentBody", "RecurrentNetwork"]


def _checked(space: Space) -> CellSpace:
    if not isinstance(space, CellSpace) or len(space.kinds) != 1 or space.inputs != 1:
        raise SupernetError(
            f"space {space.name!r}: the network 'darts_rnn' needs cells of one kind and one input state"
        )
    return space


class _Characters(nn.Module):
    """What both networks share: characters to vectors in front of the cell, and logits behind it."""

    reads = "characters"  # not images: timm's layout cannot hold such a network

    def __init__(self, hidden: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        if num_classes < 2 or not 0 <= dropout < 1:
            raise SupernetError(f"num_classes={num_classes} must be 2 or more and dropout={dropout} lie in [0, 1)")
        if hidden < 1:
            raise SupernetError(f"network hidden={hidden} must be 1 or more")
        self.num_classes = num_classes
        self.embedding = nn.Embedding(num_classes, hidden)
        self.dropout = nn.Dropout(dropout)
        self.decoder = nn.Linear(hidden, num_classes)

    def embed(self, x: Tensor) -> Tensor:
        """[B, T] to [B, T, H]"""
        if x.dim() != 2 or x.is_floating_point():
            raise SupernetError(
                f"a recurrent network reads characters as whole numbers [B, T], not {x.dtype} of the shape "
                f"{tuple(x.shape)}; give data=text"
            )
        return self.dropout(self.embedding(x))

    def decode(self, h: Tensor) -> Tensor:
        """[B, T, H] to logits [B, K, T]"""
        return self.decoder(self.dropout(h)).transpose(1, 2)


class RecurrentBody(_Characters, Body):
    """The relaxed network; one site, which all time steps share. Executors serve cells of images and have no part."""

    def __init__(
        self,
        space: Space,
        executor: Executor | None = None,
        /,
        *,
        hidden: int = 64,
        num_classes: int = 100,
        dropout: float = 0.0,
        norm: str = "layer",
    ) -> None:
        super().__init__(hidden, num_classes, dropout)
        cells = _checked(space)
        self.sites = cells.kinds
        self.cell = MixedRecurrentCell(cells, hidden, norm)

    def run(self, x: Tensor, mixture: Mixture) -> Tensor:
        """Logits [B, num_classes, T] of characters [B, T], int64."""
        return self.decode(self.cell(self.embed(x), mixture.p[0], mixture.mask[0]))

    def decide(self, space: Space, genotype: Genotype, arguments: Mapping[str, object]) -> nn.Module:
        net = build_from(space, genotype, seed=0, **shared_arguments(space, arguments))
        net.to(next(self.parameters()))
        inherit(self, net, _checked(space), genotype)
        return net.train(self.training)

    def parameters_of(self, site: int, row: int, column: int) -> list[nn.Parameter]:
        """None, which is no tensor of any shape: an activation has no weights of its own."""
        return []  # activations have no weights, and the matrix of a node serves all that enters it

    def use(self, name: str) -> None:
        make_executor(name)  # which raises SupernetError for an unknown name; none has a part in this body

    def executing(self, name: str) -> AbstractContextManager[None]:
        self.use(name)
        return nullcontext()

    def require_double_backward(self, who: str) -> None:
        """Nothing to do: stock operations all."""


class RecurrentNetwork(_Characters):
    """The discrete network of one genotype."""

    def __init__(
        self,
        space: Space,
        genotype: Genotype,
        /,
        *,
        hidden: int = 64,
        num_classes: int = 100,
        dropout: float = 0.0,
        norm: str = "none",
    ) -> None:
        super().__init__(hidden, num_classes, dropout)
        (graph,) = _checked(space).graphs(genotype).values()
        self.cell = DiscreteRecurrentCell(graph, hidden, norm)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, num_classes, T] of characters [B, T], int64."""
        return self.decode(self.cell(self.embed(x)))


# No frame: all time steps run one cell, and no input of images has the shapes of its states.
MACROS.register("darts_rnn")(Macro(RecurrentBody, RecurrentNetwork, frame=None))
