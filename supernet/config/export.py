"""Settings of the stage `export`."""

from dataclasses import dataclass

__all__ = ["ExportConfig"]


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """The stage `export`: a finished retraining as a folder that timm opens. An earlier export there is replaced."""

    run: str = ""  # the folder of a finished run of the stage retrain
    to: str | None = None  # the folder to write; None: <run>/model
