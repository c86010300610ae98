"""Sharing a trained network: a folder that timm opens, and the proof that it opens to the same outputs."""

from .folder import export_model
from .timm_entry import as_genotype
from .verify import MOST_DIFFERENCE, check_reopens, verify_export

__all__ = ["MOST_DIFFERENCE", "as_genotype", "check_reopens", "export_model", "verify_export"]
