"""The stages of the command line, each one record in the file of its name.

A new stage is its file here, its place in the list below, and `conf/NAME.yaml`.
"""

from . import compare, demo, doctor, draw, export, report, retrain, search, watch
from .stage import AnyStage, Label, Stage, Words

__all__ = ["STAGES", "AnyStage", "Label", "Stage", "Words"]

# In the order of the help.
_FILES = (search, retrain, compare, export, draw, report, watch, doctor, demo)

STAGES: dict[str, AnyStage] = {file.STAGE.name: file.STAGE for file in _FILES}
