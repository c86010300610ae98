"""How many outputs a network needs for targets that were handed over for a ready task."""

# N samples, K outputs, H height, W width

import numpy as np
import torch

from ...errors import SupernetError
from ..augment import IGNORE
from ..sources import Source, TensorSource

__all__ = ["READY", "outputs_in"]

READY = ("multi_label", "regression", "segmentation")


def outputs_in(source: Source, task: str) -> int:
    """K of rows of 0 and 1 [N, K], of numbers [N] or [N, K], or of masks [N, H, W] with classes 0 to K - 1.

    Raises SupernetError for targets of another form.
    """
    _, some = source.fetch(np.arange(min(len(source), 64), dtype=np.int64), None)
    shape = list(some.shape[1:])
    if task == "regression":
        if len(shape) > 1:
            raise SupernetError(f"task=regression reads numbers [N] or [N, K], and the targets are {['N', *shape]}")
        return shape[0] if shape else 1
    if task == "multi_label":
        if len(shape) != 1 or not bool(torch.isin(some, torch.tensor([0, 1], dtype=some.dtype)).all()):
            raise SupernetError(f"task=multi_label reads rows of 0 and 1 [N, K], and the targets are {['N', *shape]}")
        return shape[0]
    if len(shape) != 2 or some.is_floating_point():
        raise SupernetError(f"task=segmentation reads masks [N, H, W] of whole numbers, not targets {['N', *shape]}")
    if not isinstance(source, TensorSource):
        raise SupernetError(
            "how many classes the masks of a data set have is not known without reading all of it; give "
            "task=SemanticSegmentation(outputs=K) of supernet.tasks.segmentation"
        )
    classes = source.targets[source.targets != IGNORE]
    return int(classes.max()) + 1 if len(classes) else 0
