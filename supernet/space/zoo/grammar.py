"""A grammar: a cell that is a term, where a term is an operation, a chain of two terms, or a sum of two terms.

    term := skip | conv_1x1 | conv_3x3 | pool | term ; term | term + term      at most three terms deep

With T(1) = 4 operations and T(d) = 4 + 2 T(d-1)^2 there are T(3) = 2,596 points (hierarchical spaces as in Schrodi et
al., arXiv:2211.01842). The space is its YAML form, `forms/grammar.yaml`.
"""

from pathlib import Path

from ..form.document import space_file
from ..registry import SPACES
from ..space import Space

__all__ = ["grammar"]


@SPACES.register("grammar")
def grammar() -> Space:
    """The space of terms three levels deep."""
    return space_file(Path(__file__).with_name("forms") / "grammar.yaml").build()
