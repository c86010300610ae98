"""The settings of the stage `export`."""

from dataclasses import dataclass, field

__all__ = ["ExportConfig"]


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """An earlier export in the folder `to` is replaced."""

    run: str = ""  # the folder of a finished run of the stage retrain
    to: str | None = None  # the folder to write; None: <run>/model
    allow: list[str] = field(default_factory=list)  # prefixes of import paths whose classes the run's space may name
