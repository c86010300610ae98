"""The language of search spaces: the decision tree, genotypes, cells, `Choice`, and the spaces of the literature."""

from .cells import CellSpace, EdgeCells, TopKCells
from .decision import Decision, Integer, KOf, OneOf
from .genotype import Genotype
from .graph import CellGraph, Term
from .published import published, published_names
from .space import Space, Table
from .zoo import SPACES, get_space
from .zoo.registry import space_of

__all__ = [
    "SPACES", "CellGraph", "CellSpace", "Decision", "EdgeCells", "Genotype", "Integer", "KOf", "OneOf", "Space",
    "Table", "Term", "TopKCells", "get_space", "published", "published_names", "space_of",
]  # fmt: skip
