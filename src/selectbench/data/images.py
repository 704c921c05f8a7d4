"""Decoding image files to arrays: the two transforms of ImageNet training, as pure functions."""

import math
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from selectbench.data.messages import first_line
from selectbench.errors import DataError, spell

CROP = 224
SHORTER_SIDE = 256
AREA = (0.08, 1.0)
RATIO = (3 / 4, 4 / 3)
UNREADABLE = (
    *(OSError, ValueError, SyntaxError, EOFError, TypeError, IndexError, KeyError, AttributeError, OverflowError, MemoryError),
    *(struct.error, zlib.error, Image.DecompressionBombError),
)  # what Pillow raises for truncated or damaged files and decompression bombs
MOST_PIXELS = 89_478_485  # above which Pillow warns
LONGEST = 100  # times the shorter side; beyond this the header is damaged, and resizing would fill the memory
PREVIEWS = frozenset({"MPO"})  # formats whose further frames are previews of the first
DEEPEST = 65535  # white in 16 bits
ORIENTATION = 0x0112  # the EXIF tag
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def load_image(path: Path, draws: np.ndarray | None) -> np.ndarray:
    """Decode an image file to (3, 224, 224) uint8.

    Parameters
    ----------
    path : Path
        An image in any format that Pillow reads; it is converted to RGB (see ``to_rgb``).
    draws : (5,) uniforms in [0, 1), or None
        With draws, a random resized crop and flip; without them, the centre crop.

    Raises
    ------
    DataError
        The file is missing, cannot be decoded, or is no single picture of 8 or 16 bits.
    """
    try:
        with Image.open(path) as file:
            check_pixels(file)
            image = to_rgb(file)
    except UNREADABLE as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else f"unreadable image ({first_line(error)})"
        raise DataError(f"{spell(path)}: {reason}; copy it again from the published archive") from None
    except DataError as error:
        raise DataError(f"{spell(path)}: {error}") from None
    cropped = crop_centre(image) if draws is None else crop_randomly(image, draws)
    return np.asarray(cropped).transpose(2, 0, 1)


def to_rgb(image: Image.Image) -> Image.Image:
    """Return a picture as RGB, 8 bits per channel, turned as its EXIF orientation says.

    Grey values of 16 bits are scaled to 8, so that 65535 becomes 255. Of a picture with previews (MPO) the first is taken.

    Raises
    ------
    DataError
        See ``refuse_unclear``.
    """
    refuse_unclear(image)
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        grey = Image.fromarray(((values * 255 + DEEPEST // 2) // DEEPEST).astype(np.uint8))
        return turn_upright(image, grey).convert("RGB")
    return turn_upright(image, image).convert("RGB")


def refuse_unclear(image: Image.Image) -> None:
    """Raise for an image file that is not one picture of 8 or 16 bits, judged by its header.

    Raises
    ------
    DataError
        There are several frames, or values have no range that could be scaled.
    """
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format not in PREVIEWS:
        raise DataError(f"has {frames} frames instead of one picture; save each that you need as a file of its own")
    if image.mode == "F" or (image.mode == "I" and image.format != "PNG"):
        raise DataError(f"has values of 32 bits (mode {image.mode}), which have no fixed range; scale them to 8 or 16 bits")


def is_readable(path: Path) -> bool:
    """Tell whether an image file can be decoded."""
    try:
        load_image(path, None)
    except DataError:
        return False
    return True


def check_header(path: Path) -> None:
    """Raise for an image file that is not one picture of 8 or 16 bits; one that cannot be read is left to ``load_image``.

    Raises
    ------
    DataError
        See ``refuse_unclear``; the message names the file.
    """
    try:
        with Image.open(path) as image:
            refuse_unclear(image)
    except DataError as error:
        raise DataError(f"{spell(path)}: {error}") from None
    except UNREADABLE:
        return


def turn_upright(image: Image.Image, decoded: Image.Image) -> Image.Image:
    """Return a decoded picture, turned as the EXIF orientation of its file says; one that cannot be read says nothing."""
    try:
        turn = TURNS.get(image.getexif().get(ORIENTATION, 1))
    except UNREADABLE:
        return decoded
    return decoded if turn is None else decoded.transpose(turn)


def check_pixels(image: Image.Image) -> None:
    """Raise if an image's header announces so many pixels that decoding or resizing it would fill the memory.

    Raises
    ------
    ValueError
        The message gives the size in the header.
    """
    if image.width * image.height > MOST_PIXELS or max(image.size) > LONGEST * min(image.size):
        raise ValueError(f"{image.width}×{image.height} pixels")


def crop_centre(image: Image.Image) -> Image.Image:
    """Resize the shorter side to 256, keeping the aspect ratio, and cut out the central 224×224 pixels."""
    shorter = min(image.size)
    width, height = (int(SHORTER_SIDE * side / shorter) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - CROP) / 2), round((height - CROP) / 2)
    return image.crop((left, top, left + CROP, top + CROP))


def crop_randomly(image: Image.Image, draws: np.ndarray) -> Image.Image:
    """Cut out a random box, resize it to 224×224 and flip it with probability ½.

    Parameters
    ----------
    image : RGB image
    draws : (5,) uniforms in [0, 1)
        Share of the area in 0.08…1; aspect ratio, log-uniform in 3/4…4/3; left edge; top edge; flip. A box that exceeds the image
        in one direction is clipped and not redrawn, so that the crop is a function of its draws.
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
