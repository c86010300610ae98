"""The same space as a network: relaxed with shared weights, discrete for one genotype, and the executors between."""

from .connector import EdgeConnector, EdgeSite, Observer
from .discrete import build, build_from
from .executor import EXECUTORS, make_executor
from .macro import MACROS
from .mixture import HostMask, Mixture
from .recalibrate import recalibrate
from .supernet import Supernet

__all__ = [
    "EXECUTORS",
    "MACROS",
    "EdgeConnector",
    "EdgeSite",
    "HostMask",
    "Mixture",
    "Observer",
    "Supernet",
    "build",
    "build_from",
    "make_executor",
    "recalibrate",
]
