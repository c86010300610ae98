"""Macro structures: how the cells or choices of a space become a whole network, relaxed and discrete."""

from . import darts, module, nasbench201, recurrent_net
from .registry import MACROS, Body, Macro, macro_of

__all__ = ["MACROS", "Body", "Macro", "darts", "macro_of", "module", "nasbench201", "recurrent_net"]
