"""`Body`: the weights of a relaxed network, and how it is run."""
# B batch, C channels, H height, W width, E edges, O operations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

from torch import Tensor, nn

from ..errors import SupernetError
from ..space.genotype import Genotype
from ..space.space import Space
from .connector import EdgeConnector, Observer, name_of
from .executor import Auto, Executor
from .mixture import Mixture

__all__ = ["Body"]


class Body(nn.Module, ABC):
    """The base of what macro structures make of a space.

    `sites` names the table of each place where mixing weights enter: a cell, or a choice. `executor` runs the mixed
    cells; it is None for bodies that have none. A body neither sees alphas nor knows a method.
    """

    sites: tuple[str, ...]

    @property
    def executor(self) -> Executor | None:
        """What runs the mixed cells; `use` and `executing` change it."""
        return None

    @property
    def automatic(self) -> Auto | None:
        """What decides for this body where executor=auto was asked for; None where nothing is left to decide."""
        return self.executor if isinstance(self.executor, Auto) else None

    @property
    def observers(self) -> tuple[Observer, ...]:
        """What looks at the mixed edges at present."""
        return ()

    @abstractmethod
    def run(self, x: Tensor, mixture: Mixture) -> Tensor:
        """The network's output for inputs `x` [B, ...], with a p [E, O] and a mask [E, O] a site."""

    @abstractmethod
    def decide(self, space: Space, genotype: Genotype, arguments: Mapping[str, object]) -> nn.Module:
        """The plain network of `genotype` with the shared weights; `arguments` are those that this body was made of."""

    @abstractmethod
    def parameters_of(self, site: int, row: int, column: int) -> list[nn.Parameter]:
        """The weights, of any shapes, that belong to one option alone; none where it has no weights of its own."""

    @abstractmethod
    def use(self, name: str) -> None:
        """Run by the executor `name` from now on; raises SupernetError where it is unknown or cannot serve."""

    @abstractmethod
    def executing(self, name: str) -> AbstractContextManager[None]:
        """Inside, the body runs by the executor `name`, and afterwards as before."""

    @abstractmethod
    def require_double_backward(self, who: str) -> None:
        """From now on the output can be differentiated twice; what that changes is logged as asked for by `who`."""

    def connect(self, connectors: Sequence[EdgeConnector]) -> None:
        """Attach these edge connectors in place of the present ones; SupernetError where there are no mixed edges."""
        self._refuse("edge connector", connectors)

    def observe(self, observers: Sequence[Observer]) -> None:
        """Attach these observers in place of the present ones; SupernetError where there are no mixed edges."""
        self._refuse("observer", observers)

    def _refuse(self, what: str, hooks: Sequence[object]) -> None:
        if hooks:
            raise SupernetError(
                f"the {what} {name_of(hooks[0])} needs mixed edges of cells, which {type(self).__name__} has none of; "
                "search a space of cells of images, or leave it out"
            )
