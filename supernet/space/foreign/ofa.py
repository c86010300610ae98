"""Once-for-all's dictionary (https://github.com/mit-han-lab/once-for-all): kernels, expansions, depths of MobileNetV3.

    {"ks": [7, 3, ...], "e": [6, 4, ...], "d": [4, 2, ...]}

It is told apart so that the message can say why: no registered space has that network.
"""

from typing import NoReturn

from ...errors import GenotypeError
from .form import FORMS, Value

__all__ = ["fits", "read"]


def fits(value: Value) -> bool:
    return isinstance(value, dict) and {"ks", "e", "d"} <= set(value)


def read(value: Value) -> NoReturn:
    """Raises GenotypeError."""
    raise GenotypeError(
        "it describes a MobileNetV3 of once-for-all (ks, e, d), which no registered space has; mobilenetv3_like has "
        "other stages and widths"
    )


FORMS.register("ofa")((fits, read))
