"""The one reader of picture files: which formats, how large, and what becomes of what is not 8-bit grey or RGB.

    16 bits a channel, grey     value / 257, rounded: 0..65535 to 0..255
    whole numbers of 32 bits    the same where none is above 65535, else refused
    floats                      times 255 where all lie in 0..1, as they are where they lie in 0..255, else refused
    EXIF orientation            applied: a picture is turned as it is shown
    transparency                dropped
    palette, CMYK, 1 bit ...    converted by Pillow

timm's reader (`Image.open(path).convert("RGB")`) clips 16 bits to white, makes floats black and does not turn; on 8-bit
pictures without an orientation both give the same.
"""
# C channels, H height, W width

import os
import struct
import warnings
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from .. import files
from ..errors import SupernetError

__all__ = ["EXTENSIONS", "FORMATS", "UNREADABLE", "decoded", "differs_from_timm", "in_mode", "opened", "pillow_mode"]

EXTENSIONS = frozenset({
    ".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tga", ".tif",
    ".tiff", ".webp",
})  # fmt: skip
# Whatever a file is called: Pillow would start Ghostscript for EPS, and knows dozens of formats that nobody looks at.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
# Of a picture with all its copies: 128 million pixels of RGB, more than any camera has. A palette with transparency
# takes 8 bytes a pixel on its way.
MOST_BYTES = 768 * 2**20
# What Pillow raises for files that are no pictures; struct.error for damaged EXIF.
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)
ORIENTATION = ExifTags.Base.Orientation
_DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")


def opened(file: IO[bytes], path: str | os.PathLike[str]) -> Image.Image:
    """The picture in the open file of `path`, not decoded yet; one of UNREADABLE where it is none.

    TGA files have no mark of their own: only their name says what they are, else damaged ones might pass as one.
    Refuses formats beyond FORMATS, and pictures that would take more than MOST_BYTES.
    """
    with warnings.catch_warnings(action="ignore"):  # odd metadata are no damage, and the size has a bound of its own
        image = Image.open(file, formats=("TGA",) if os.fspath(path).lower().endswith(".tga") else FORMATS)
    needed = image.width * image.height * _bytes_of(image)
    if needed > MOST_BYTES:
        raise Image.DecompressionBombError(
            f"{image.width}x{image.height} pixels take {needed >> 20} MiB, and at most {MOST_BYTES >> 20} are read"
        )
    return image


def decoded(path: str | os.PathLike[str], in_chans: int) -> Image.Image:
    """The file as an 8-bit picture in grey (1) or RGB (3), turned as it is shown.

    Raises SupernetError with the path where it is no readable picture.
    """
    try:
        with open(files.open_plain(path), "rb") as file, opened(file, path) as image:
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            return in_mode(image, in_chans)
    except SupernetError:
        raise
    except UNREADABLE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SupernetError(f"image {path} cannot be read ({reason}); repair or delete it") from None


def differs_from_timm(path: str | os.PathLike[str]) -> bool:
    """Whether timm's reader would clip or not turn the picture: known without decoding it; False where it is none."""
    try:
        with open(files.open_plain(path), "rb") as file, opened(file, path) as image:
            return image.mode in _DEEP or image.getexif().get(ORIENTATION, 1) != 1
    except (SupernetError, *UNREADABLE):
        return False


def in_mode(image: Image.Image, in_chans: int) -> Image.Image:
    """A decoded picture in 8-bit grey (1) or RGB (3); ValueError for numbers in none of the ranges above."""
    mode = pillow_mode(in_chans)
    if image.mode in _DEEP:
        image = Image.fromarray(_eight_bits(np.asarray(image)))
    if "transparency" in image.info:  # straight to RGB, Pillow warns of the lost palette entry
        image = image.convert("RGBA")
    return image.convert(mode)


def pillow_mode(in_chans: int) -> str:
    """Pillow's name of grey (1) or colour (3); raises SupernetError for other numbers of channels."""
    if in_chans not in (1, 3):
        raise SupernetError(f"data.in_chans={in_chans} must be 1 (grey) or 3 (RGB)")
    return "L" if in_chans == 1 else "RGB"


def _eight_bits(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Grey values [H, W] of any depth as 0..255."""
    numbers = values.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError("it holds numbers that are not finite")
    low, high = float(numbers.min()), float(numbers.max())
    if np.issubdtype(values.dtype, np.floating):
        scale = 255.0 if high <= 1 else 1.0
        if low < 0 or high > 255:
            raise ValueError(f"its floats go from {low:g} to {high:g}; 0..1 and 0..255 are read")
    else:
        scale = 1 / 257
        if low < 0 or high > 65535:
            raise ValueError(f"its whole numbers go from {low:.0f} to {high:.0f}; 16 bits are read, 0..65535")
    return np.rint(numbers * scale).astype(np.uint8)


def _bytes_of(image: Image.Image) -> int:
    """Bytes a pixel of the picture and of what it becomes on its way to RGB."""
    own = {"I": 4, "F": 4, "I;16": 2, "I;16B": 2}.get(image.mode, len(image.getbands()))
    between = 4 if "transparency" in image.info else 8 if image.mode in _DEEP else 0
    return own + between + 3
