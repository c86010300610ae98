"""Search spaces of the literature, one a file; importing this package fills the registry `SPACES`."""

from . import darts, nasbench201, nasnet
from .registry import SPACES, get_space

__all__ = ["SPACES", "darts", "get_space", "nasbench201", "nasnet"]
