"""How runs of the stages with run folders are told apart: what the stage's record and its function both say."""

from ..config import RetrainConfig, SearchConfig
from .stage import Label, folder_prefix

__all__ = ["label_of_retraining", "label_of_search"]


def label_of_search(config: SearchConfig, space: str | None) -> Label:
    """`space` names a space that is not registered; None: the registered one of the settings."""
    return Label(space, folder_prefix(config, space or config.space.name, config.method.name))


def label_of_retraining(config: RetrainConfig, genotype: str) -> Label:
    """`genotype` is its hash or its published name."""
    return Label(genotype, folder_prefix(config, "retrain", genotype))
