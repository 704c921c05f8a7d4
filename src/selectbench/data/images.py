"""Single image files to arrays: the two transforms of ImageNet training, as pure functions."""

import math
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from selectbench.data.messages import first_line
from selectbench.errors import DataError

CROP = 224
SHORTER_SIDE = 256
AREA = (0.08, 1.0)
RATIO = (3 / 4, 4 / 3)
UNREADABLE = (
    *(OSError, ValueError, SyntaxError, EOFError, TypeError, IndexError, KeyError, AttributeError, OverflowError, MemoryError),
    *(struct.error, zlib.error, Image.DecompressionBombError),
)  # what Pillow raises for files that are truncated, damaged or bombs
MOST_PIXELS = Image.MAX_IMAGE_PIXELS  # where Pillow begins to warn
LONGEST = 100  # times the shorter side: beyond, a header is damaged, and resizing would take all memory


def load_image(path: Path, draws: np.ndarray | None) -> np.ndarray:
    """Decode an image file to (3, 224, 224) uint8.

    Parameters
    ----------
    path : Path
        An image in any format and colour mode that Pillow reads; converted to RGB.
    draws : (5,) uniforms in [0, 1), or None
        With draws, a random resized crop and flip; without, the central crop.

    Raises
    ------
    DataError
        The file is missing or cannot be decoded.
    """
    try:
        with Image.open(path) as image:
            check_pixels(image)
            image = image.convert("RGB")
    except UNREADABLE as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else f"unreadable image ({first_line(error)})"
        raise DataError(f"{path}: {reason}; copy it again from the published archive") from None
    cropped = crop_centre(image) if draws is None else crop_randomly(image, draws)
    return np.asarray(cropped).transpose(2, 0, 1)


def check_pixels(image: Image.Image) -> None:
    """Raise for an image whose header promises so many pixels that decoding or resizing it would fill the memory.

    Raises
    ------
    ValueError
        With the size that the header names.
    """
    if image.width * image.height > MOST_PIXELS or max(image.size) > LONGEST * min(image.size):
        raise ValueError(f"{image.width}×{image.height} pixels")


def crop_centre(image: Image.Image) -> Image.Image:
    """Resize the shorter side to 256, keeping the ratio, and cut the central 224×224."""
    shorter = min(image.size)
    width, height = (int(SHORTER_SIDE * side / shorter) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - CROP) / 2), round((height - CROP) / 2)
    return image.crop((left, top, left + CROP, top + CROP))


def crop_randomly(image: Image.Image, draws: np.ndarray) -> Image.Image:
    """Cut a random box, resize it to 224×224 and flip it for one draw in two.

    Parameters
    ----------
    image : RGB image
    draws : (5,) uniforms in [0, 1)
        Share of the area in 0.08…1; ratio of width to height, log-uniform in 3/4…4/3; left edge; top edge; flip. A box that
        is longer than the image in one direction is cut to it: no redrawing, so the crop is a function of its draws.
    """
    area, ratio, left, top, flip = (float(draw) for draw in draws)
    width, height = image.size
    target = width * height * (AREA[0] + area * (AREA[1] - AREA[0]))
    aspect = math.exp(math.log(RATIO[0]) + ratio * math.log(RATIO[1] / RATIO[0]))
    box_width = min(max(round(math.sqrt(target * aspect)), 1), width)
    box_height = min(max(round(math.sqrt(target / aspect)), 1), height)
    x, y = int(left * (width - box_width + 1)), int(top * (height - box_height + 1))
    box = image.crop((x, y, x + box_width, y + box_height)).resize((CROP, CROP), Image.Resampling.BILINEAR)
    return box.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip < 0.5 else box
