"""The language of search spaces: the decision tree, genotypes, cells, `Choice`, and the spaces of the literature."""

from .cells import CellSpace, EdgeCells, TopKCells
from .decision import Decision, Integer, KOf, OneOf
from .genotype import Genotype
from .graph import CellGraph, Term
from .published import published, published_names
from .registry import space_of
from .space import Space, Table
from .zoo import SPACES, get_space  # the zoo fills SPACES

__all__ = [
    "SPACES", "CellGraph", "CellSpace", "Decision", "EdgeCells", "Genotype", "Integer", "KOf", "OneOf", "Space",
    "Table", "Term", "TopKCells", "get_space", "published", "published_names", "space_of",
]  # fmt: skip
