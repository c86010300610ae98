"""Sharing a trained network: a folder that timm opens, and the proof that it opens to the same outputs."""

from .folder import export_model
from .fresh import verify_export
from .timm_entry import as_genotype

__all__ = ["as_genotype", "export_model", "verify_export"]
