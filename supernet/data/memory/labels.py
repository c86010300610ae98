"""Targets as a user has them, and the classes that they name.

whole numbers [N], [N, 1]     their sorted values are the classes: 1..3 are three, 0, 10 and 20 as well
text, objects [N]             likewise
rows of 0 and one 1 [N, K]    K classes, numbered by the place of the 1
anything else                 no classes, for a task of the user's own
"""

# N samples, K classes

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import SupernetError, short

__all__ = ["Classes", "classes_of", "plain_targets"]


@dataclass(frozen=True)
class Classes:
    """The values that stand for the classes, in order; class k is `values[k]`."""

    values: tuple[object, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(map(str, self.values))

    def numbers(self, targets: NDArray[np.generic], what: str) -> NDArray[np.int64]:
        """The class numbers [N] of targets [N]; raises SupernetError for a value that is none of the classes."""
        places = {value: k for k, value in enumerate(self.values)}
        values = targets.tolist()
        strange = next((value for value in values if value not in places), None)
        if strange is not None:
            raise SupernetError(
                f"{what} has the label {short(str(strange))!r}, which is none of the classes of the training data: "
                f"{', '.join(self.names[:8])}{' ...' if len(self.values) > 8 else ''}"
            )
        return np.asarray([places[value] for value in values], dtype=np.int64)


def plain_targets(targets: object) -> NDArray[np.generic] | Tensor:
    """Labels [N] where the targets are such, one a sample; else a tensor [N, ...], for a task of the user's own."""
    array = targets.detach().cpu().numpy() if isinstance(targets, Tensor) else np.asarray(targets)
    if array.ndim == 2 and array.shape[1] == 1 and not np.issubdtype(array.dtype, np.floating):
        array = array[:, 0]
    if array.ndim == 1 and not np.issubdtype(array.dtype, np.floating):
        return array.astype(np.int64) if array.dtype.kind in "biu" else array
    if _one_hot(array):
        return array.argmax(axis=1).astype(np.int64)
    if array.dtype.kind in "OUSM":
        shape = list(array.shape)
        raise SupernetError(f"targets of shape {shape} and type {array.dtype} are no labels; give one a sample")
    tensor = torch.from_numpy(np.array(array))
    return tensor.float() if tensor.is_floating_point() else tensor.long()


def classes_of(targets: Sequence[NDArray[np.generic]]) -> Classes:
    """The classes of the training and validation targets, each [N], in the order of their values."""
    values: set[object] = set()
    for some in targets:
        values |= set(some.tolist())
    texts = sorted(value for value in values if isinstance(value, str))
    numbers = sorted(value for value in values if isinstance(value, int))
    if len(texts) + len(numbers) < len(values) or (texts and numbers):
        kinds = ", ".join(sorted({type(value).__name__ for value in values}))
        raise SupernetError(f"the labels are of the types {kinds}; give texts or whole numbers")
    return Classes(tuple(texts or numbers))


def _one_hot(array: NDArray[np.generic]) -> bool:
    if array.ndim != 2 or array.shape[1] < 2 or array.dtype.kind not in "biuf" or not len(array):
        return False
    return bool(np.isin(array, (0, 1)).all() and (array.sum(axis=1) == 1).all())
