"""Images of another size than those of the weights, for networks that are made for one size: timm's word is `img_size`.

A network of tokens has a learned position for each patch. They are resampled as timm's vision transformers do, on the
grid of the patches; the first position, of the class token, stays.
"""
# N patches, C channels

from collections.abc import Mapping, Sequence

from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from ..errors import SupernetError, short
from ..space.zoo.autoformer import Tokens
from .data_facts import Arguments

__all__ = ["img_size_of", "resample_positions", "sized"]

PREFIX = 1  # tokens before those of the patches


def img_size_of(arguments: Arguments) -> tuple[int, int] | None:
    """Height and width in pixels that the network of `arguments` is made for; None: any size."""
    size = arguments.get("image_size")
    return (size, size) if isinstance(size, int) else None


def sized(arguments: Arguments, parameters: Mapping[str, object], space: str) -> Arguments:
    """`arguments` with timm's `img_size` as the `image_size` of the network, whose `parameters` are known.

    Raises SupernetError where the network has no such argument, as timm's convolutional networks have none, and for a
    size that is no square.
    """
    if "img_size" not in arguments:
        return arguments
    size = arguments["img_size"]
    if "image_size" not in parameters:
        raise SupernetError(
            f"img_size={short(str(size), 40)}: networks of space {space!r} read images of every size and have no such "
            "argument, as timm's convolutional networks; leave it out"
        )
    sides = [size, size] if isinstance(size, int) else list(size) if isinstance(size, Sequence) else []
    if len(sides) != 2 or sides[0] != sides[1]:
        raise SupernetError(
            f"img_size={short(str(size), 40)}: networks of space {space!r} read square images, such as 64"
        )
    return {key: value for key, value in arguments.items() if key != "img_size"} | {"image_size": sides[0]}


def resample_positions(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """`state` with its positions [1, 1 + N, C] for the number of patches of `model`."""
    fits = dict(state)
    for name, module in model.named_modules():
        key = f"{name}.position"
        if isinstance(module, Tokens) and key in fits and fits[key].shape[1] != module.position.shape[1]:
            side = round((module.position.shape[1] - PREFIX) ** 0.5)
            fits[key] = resample_abs_pos_embed(fits[key], [side, side], num_prefix_tokens=PREFIX)
    return fits
