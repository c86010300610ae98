"""What an architecture costs: parameters, FLOPs and latency; of a genotype, and expected under mixing weights."""

from .clock import Conditions
from .count import flops, parameters, report
from .expected import CostTable, cost_table, expected
from .latency import calibrated, latency_table, measured

__all__ = [
    "Conditions", "CostTable", "calibrated", "cost_table", "expected", "flops", "latency_table", "measured",
    "parameters", "report",
]  # fmt: skip
