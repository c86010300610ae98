"""The mixing weights in a saved search, read without building its network."""
# E edges, O operations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..config import MethodConfig, from_mapping
from ..errors import SupernetError
from ..methods import Method
from ..network.options import absent_in
from ..runs.state import State
from ..space import Space
from ..space.space import Strengths

__all__ = ["strengths_of"]

RETIRED = ("discretiser",)  # settings of a method that runs of earlier versions have


class _Alphas:
    """Stands in for a network, of which a method's parts need the tables and the alphas."""

    def __init__(self, space: Space, alphas: Mapping[str, Tensor]) -> None:
        self.space = space
        self.alpha = {name: nn.Parameter(alpha.clone()) for name, alpha in alphas.items()}
        self.relaxation: object = None

    def alphas(self) -> list[nn.Parameter]:
        return list(self.alpha.values())

    def connect(self, connectors: object) -> None:
        """There are no edges."""

    observe = connect


@torch.no_grad()
def strengths_of(state: State, config: State, space: Space) -> Strengths:
    """The mixing weights, {table name: [E][O]}, in a `state` that `SearchProgram.state_dict` gave.

    `config` is the stored configuration of its run, in plain values. Raises SupernetError where the state is not that
    of a search, or of one of another space; its text goes on from "the run X ".
    """
    if "bilevel" not in state:
        raise SupernetError("has no alphas: it is no search")
    net: Mapping[str, Tensor] = state["bilevel"]["net"]
    alphas: dict[str, Tensor] = {}
    for table in space.tables:
        alpha_EO = net.get(f"alpha.{table.name}")
        if alpha_EO is None or tuple(alpha_EO.shape) != table.shape:
            raise SupernetError(f"is of another space: it has no alphas {table.shape} called {table.name!r}")
        alphas[table.name] = alpha_EO
    settings = {key: value for key, value in config["method"].items() if key not in RETIRED}
    method = Method(from_mapping(MethodConfig, settings, "method."))
    method.bind(_Alphas(space, alphas), 0)  # type: ignore[arg-type]  # all that binding asks of a network
    method.load(state["bilevel"].get("parts", {}))
    return {
        table.name: method.weigh(alphas[table.name].masked_fill(absent_in(net, table), float("-inf")), table).tolist()
        for table in space.tables
    }
