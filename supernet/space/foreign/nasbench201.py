"""The strings of NAS-Bench-201 (https://github.com/D-X-Y/NAS-Bench-201): |nor_conv_3x3~0|+|none~0|none~1|+|...|."""

from ..genotype import Genotype
from .form import FORMS, Value

__all__ = ["fits", "read"]


def fits(value: Value) -> bool:
    return isinstance(value, str) and value.startswith("|")


def read(value: Value) -> Genotype:
    """The point of the string; raises GenotypeError where it is none."""
    from ..zoo.nasbench201 import from_string

    return from_string(str(value))


FORMS.register("nasbench201")((fits, read))
