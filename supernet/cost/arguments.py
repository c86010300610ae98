"""What a cost depends on besides the architecture: the input's shape and the network's arguments, checked."""
# B batch, C channels, H height, W width

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from ..arguments import check_arguments
from ..errors import SupernetError
from ..network.macro import macro_of
from ..space import SPACES, Genotype, Space, space_of
from .placed import Shape

__all__ = ["check_space", "complete", "image_for", "input_shape", "running", "space_for"]

IMAGE = (3, 32, 32)


def space_for(genotype: Genotype, space: Space | None) -> Space:
    """The space that `genotype` is a point of: the one given, else the registered one of its name."""
    if not isinstance(genotype, Genotype):
        raise SupernetError(f"a cost is that of a Genotype, not {genotype!r:.60}; use published(name) or Genotype.load")
    if space is None:
        if genotype.space not in SPACES:
            raise SupernetError(f"space {genotype.space[:60]!r} is not registered; give space=Space(Net) too")
        return space_of(genotype)
    check_space(space)
    space.validate(genotype)
    return space


def check_space(space: object) -> None:
    """Raises SupernetError for what is no space, such as the name of one."""
    if not isinstance(space, Space):
        raise SupernetError(f"a cost is that of a Space, not {space!r:.60}; use get_space(name) or Space(Net)")


def input_shape(image: Sequence[object], batch: int = 1) -> Shape:
    """[B, C, H, W] of images of the shape `image`, (C, H, W); raises SupernetError where these are no sizes."""
    asked = (batch, *image) if isinstance(image, Sequence) else ()
    sizes = tuple(n for n in asked if isinstance(n, int) and not isinstance(n, bool) and n > 0)
    if len(sizes) < 2 or len(sizes) < len(asked):
        raise SupernetError(
            f"image={image!r:.60} and batch={batch} must be whole numbers of 1 or more, image (C, H, W)"
        )
    return sizes


def image_for(space: Space, image: Sequence[int] | None, arguments: Mapping[str, object]) -> Sequence[object]:
    """`image`, or one of 32 x 32 pixels with as many channels as `arguments`, else the network by default, say."""
    if image is not None:
        return image
    check_space(space)
    channels = inspect.signature(macro_of(space).discrete).parameters.get("in_chans")
    default = channels.default if channels is not None else IMAGE[0]
    return (arguments.get("in_chans", default), *IMAGE[1:])


def complete(space: Space, arguments: Mapping[str, object], shape: Shape) -> dict[str, object]:
    """The discrete network's arguments with its defaults, and the channels of `shape` [B, C, H, W] where it has some.

    Raises SupernetError for arguments that it does not take, and for channels that do not fit.
    """
    check_space(space)
    discrete = macro_of(space).discrete
    check_arguments(discrete, arguments, f"the {space.name!r} network")
    parameters = inspect.signature(discrete).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    own = dict(arguments)
    if "in_chans" in defaults:
        own.setdefault("in_chans", shape[1])
    if own.get("in_chans", shape[1]) != shape[1]:
        raise SupernetError(f"in_chans={own['in_chans']} and an image of {shape[1]} channels do not fit")
    return defaults | own


@contextmanager
def running(what: str, shape: Shape) -> Iterator[None]:
    """Inside, a network runs on an input of `shape`: an error of its own becomes one line."""
    try:
        yield
    except SupernetError:
        raise
    except (IndexError, RuntimeError, TypeError, ValueError) as error:
        message = str(error).strip().partition("\n")[0][:200]
        raise SupernetError(f"the network {what!r} fails on an input of shape {shape}: {message}") from error
