"""Linear regions: into how many pieces a network's ReLUs cut the space of small images.

Xiong et al., "On the number of linear regions of convolutional neural networks", https://arxiv.org/abs/2006.00978; as a
score: TE-NAS, https://arxiv.org/abs/2102.11535.

    score = number of distinct rows of A [S, F],  A = which inputs of all ReLUs are above 0 (samples x neurons)

S crops of 3x3 pixels, of images and places drawn at random; inputs that are no images [N, C, H, W] are taken as they
are. Crops so small keep the count below S, where wide networks would reach it: TE-NAS builds its networks for this
score with one channel everywhere, so give it the narrowest network of an architecture.

The authors' code (VITA-Group/TENAS, linear_region_counter.py) takes 3 x 1000 crops of one random channel, runs a
thousand at a time in train mode and counts the ReLUs of dead branches too; here all channels, and the ReLUs on the
way to the outputs.
"""
# N images, S samples, F neurons, C channels, H height, W width

from collections.abc import Sequence

import torch
from torch import Tensor

from ...errors import SupernetError
from ..probe import Trial, different, relu_codes
from .registry import zero_cost

__all__ = ["linear_regions"]

AT_ONCE = 1000  # samples of one pass, over which batch norms take their statistics


@zero_cost("linear_regions")
def linear_regions(trial: Trial, /, *, samples: int = 3000, size: int = 3) -> float:
    """`samples` crops, 2 or more, of `size` x `size` pixels, out of all batches."""
    if samples < 2 or size < 1:
        raise SupernetError(f"linear_regions: samples={samples} must be 2 or more and size={size} 1 or more")
    inputs: Sequence[Tensor] = [inputs for inputs, _ in trial.batches]
    if trial.images.dim() == 4:
        images, height, width = torch.cat(list(inputs)), *trial.images.shape[2:]
        if size > min(height, width):
            raise SupernetError(f"linear_regions: size={size} is more than the images have, {height}x{width} pixels")
        inputs = _crops(images, samples, size, trial.generator)
    codes = [torch.cat(relu_codes(trial, chunk), 1) for chunk in inputs]
    return float(different(torch.cat(codes)))


def _crops(images: Tensor, samples: int, size: int, generator: torch.Generator) -> Sequence[Tensor]:
    """Crops [at most 1000, C, size, size] of images [N, C, H, W], `samples` in all, in passes of about equal length."""
    height, width = images.shape[2:]
    ends = (len(images), height - size + 1, width - size + 1)
    image, top, left = (torch.randint(end, (samples, 1, 1), generator=generator).to(images.device) for end in ends)
    steps = torch.arange(size, device=images.device)
    crops = images.permute(0, 2, 3, 1)[image, top + steps[:, None], left + steps]
    return crops.permute(0, 3, 1, 2).contiguous().tensor_split(-(-samples // AT_ONCE))
