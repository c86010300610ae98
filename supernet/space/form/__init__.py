"""The YAML form of search spaces: read strictly, built without running anything that a file names, and written back."""

from ..written_form import WRITTEN_FORMS, WrittenForm
from .document import SpaceFile, load_space, parse_space, read_space, space_file
from .signature import signature
from .write import write_space

__all__ = ["SpaceFile", "load_space", "parse_space", "read_space", "signature", "space_file", "write_space"]

WRITTEN_FORMS.register("yaml")(WrittenForm(read_space, load_space, write_space))
