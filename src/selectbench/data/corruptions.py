"""Image corruptions with the rules and the five severities of CIFAR-10-C, each a pure function of a seed and a sample id.

A rule takes one image, (H, W, C) float64 in 0..1 with one or three channels, and its parameters; a random rule takes a generator
before them. Results may leave 0..1; `quantise` clips them. Lengths are in pixels unless stated otherwise.

Rules and numbers: Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and Perturbations, ICLR
2019, as applied by the script that generated CIFAR-10-C. Two of its nineteen corruptions are left out: ``frost`` needs photographs
of frost, which are not part of this package, and ``spatter`` depends on the edges found by OpenCV's Canny filter.
"""

import functools
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image
from scipy import ndimage

from selectbench.data.splits import SEVERITIES
from selectbench.errors import DataError, suggest
from selectbench.seeds import derive_seed

LUMA = np.array([[0.299], [0.587], [0.114]])


def quantise(image: np.ndarray) -> np.ndarray:
    """Clip an image to 0..1 and return it as 256 levels, uint8, truncated as in the published files."""
    # The small term preserves levels that were converted to floats and back.
    levels: np.ndarray = np.floor(np.clip(image, 0, 1) * 255 + 1e-6).astype(np.uint8)
    return levels


def gaussian_noise(image: np.ndarray, rng: np.random.Generator, sigma: float) -> np.ndarray:
    """Add normal noise of standard deviation ``sigma``, in units of the full range."""
    return image + rng.normal(scale=sigma, size=image.shape)


def shot_noise(image: np.ndarray, rng: np.random.Generator, photons: float) -> np.ndarray:
    """Replace values by Poisson photon counts, with a mean of ``photons`` at full brightness."""
    return rng.poisson(image * photons) / photons


def impulse_noise(image: np.ndarray, rng: np.random.Generator, share: float) -> np.ndarray:
    """Set a share of the values, drawn independently for each channel, to 0 or 1 with equal probability."""
    hit, white = rng.random(image.shape) <= share, rng.random(image.shape) <= 0.5
    return np.where(hit, white, image)


def speckle_noise(image: np.ndarray, rng: np.random.Generator, sigma: float) -> np.ndarray:
    """Add normal noise of standard deviation ``sigma`` times the value."""
    return image + image * rng.normal(scale=sigma, size=image.shape)


def gaussian_blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blur with a Gaussian truncated at four sigmas; the border repeats the edge."""
    return ndimage.gaussian_filter(image, (sigma, sigma, 0), mode="nearest", truncate=4.0)


def defocus_blur(image: np.ndarray, radius: float, softness: float) -> np.ndarray:
    """Blur with a disc whose rim is smoothed by a Gaussian of sigma ``softness``; the border mirrors around the edge pixel."""
    return ndimage.correlate(image, soft_disc(radius, softness)[:, :, np.newaxis], mode="mirror")


def soft_disc(radius: float, softness: float) -> np.ndarray:
    """Return the (K, K) kernel of `defocus_blur`: a disc under a Gaussian of 3 taps, 5 above a radius of 8.

    It sums to 1 for radii below 8. Larger discs touch the border of the published grid, where the Gaussian is mirrored.
    """
    margin = 1 if radius <= 8 else 2
    half = max(int(radius), min(int(radius) + 2, 8))
    offsets = np.arange(-half, half + 1)
    disc = (offsets**2 + offsets[:, np.newaxis] ** 2 <= radius**2).astype(np.float64)
    disc /= disc.sum()
    taps = np.exp(-(np.arange(-margin, margin + 1) ** 2) / (2 * softness**2))
    for axis in (0, 1):
        disc = ndimage.correlate1d(disc, taps / taps.sum(), axis=axis, mode="mirror")
    return disc


def glass_blur(image: np.ndarray, rng: np.random.Generator, sigma: float, reach: int, passes: int) -> np.ndarray:
    """Blur, displace pixels locally and blur again.

    Parameters
    ----------
    image, rng : as in every rule
    sigma : of both blurs, see `gaussian_blur`
    reach : a pixel is taken from up to ``reach`` rows and columns before it, or up to ``reach`` − 1 after it
    passes : number of times pixels are displaced, see `displace_pixels`
    """
    displaced = quantise(gaussian_blur(image, sigma)) / 255
    for _ in range(passes):
        displaced = displace_pixels(displaced, rng.integers(-reach, reach, size=(2, *image.shape[:2])), reach)
    return gaussian_blur(displaced, sigma)


def displace_pixels(image: np.ndarray, shifts: np.ndarray, reach: int) -> np.ndarray:
    """Overwrite each inner pixel, from the last to the first, with the pixel that its shift points to.

    The published loop is meant to swap the two pixels, but it assigns views of one array and so only copies; this does the same.

    Parameters
    ----------
    image : (H, W, C)
    shifts : (2, H, W) integers, rows and columns in −reach..reach − 1
    reach : inner pixels are those in rows reach + 1..H − reach and columns reach + 1..W − reach
    """
    height, width, channels = image.shape
    own = np.arange(height * width)
    grid = own.reshape(height, width).copy()
    inner = np.s_[reach + 1 : height - reach + 1, reach + 1 : width - reach + 1]
    grid[inner] += (shifts[0] * width + shifts[1])[inner]
    source = grid.ravel()
    # Later pixels have already been overwritten: follow such sources to a pixel that has not.
    last = np.maximum(source, own)
    while np.any(last[last] != last):
        last = last[last]
    return image.reshape(-1, channels)[source[last]].reshape(image.shape)


def motion_blur(image: np.ndarray, rng: np.random.Generator, radius: float, sigma: float) -> np.ndarray:
    """Blur along a direction drawn within 45 degrees of the horizontal, see `blur_along`."""
    return blur_along(image, radius, sigma, rng.uniform(-45, 45))


def blur_along(image: np.ndarray, radius: float, sigma: float, angle: float) -> np.ndarray:
    """Average each pixel with those that follow it in one direction, as ImageMagick's motion blur does.

    Parameters
    ----------
    image : (H, W, C) in 0..1
    radius : the line has 2·ceil(radius) + 1 pixels; beyond the border the edge repeats
    sigma : the weight of the i-th pixel is proportional to exp(−i² / 2σ²)
    angle : of the line in degrees; 0 points right, 90 down
    """
    height, width = image.shape[:2]
    steps = np.arange(2 * math.ceil(radius) + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    weights /= weights.sum()
    turn = math.radians(angle)
    rows = np.ceil(steps * math.sin(turn) - 0.5).astype(int) + len(steps)
    columns = np.ceil(steps * math.cos(turn) - 0.5).astype(int) + len(steps)
    padded = np.pad(image, ((len(steps),) * 2, (len(steps),) * 2, (0, 0)), mode="edge")
    blurred = np.zeros_like(image)
    for weight, row, column in zip(weights, rows, columns, strict=True):
        blurred += weight * padded[row : row + height, column : column + width]
    return blurred


def zoom_blur(image: np.ndarray, factors: Sequence[float]) -> np.ndarray:
    """Average the image with its enlargements by each of the ``factors``.

    A factor that adds less than half a pixel has no effect, so that images of 8 pixels do not change at the first severity.
    """
    return (image + sum(zoom_centre(image, factor) for factor in factors)) / (len(factors) + 1)


def zoom_centre(image: np.ndarray, factor: float) -> np.ndarray:
    """Cut the centre of an image and enlarge it by ``factor`` to the size of the image, linearly."""
    height, width = image.shape[:2]
    zoomed: np.ndarray = zoom_matrix(height, factor) @ image.transpose(2, 0, 1) @ zoom_matrix(width, factor).T
    return zoomed.transpose(1, 2, 0)


@functools.lru_cache(maxsize=256)
def zoom_matrix(side: int, factor: float) -> np.ndarray:
    """Return the read-only (side, side) matrix that applies `zoom_centre` along one axis."""
    kept = math.ceil(side / factor)
    left = (side - kept) // 2
    enlarged = ndimage.zoom(np.eye(kept), (factor, 1), order=1)
    trimmed = (len(enlarged) - side) // 2
    matrix = np.zeros((side, side))
    matrix[:, left : left + kept] = enlarged[trimmed : trimmed + side]
    matrix.flags.writeable = False
    return matrix


def snow(
    image: np.ndarray, rng: np.random.Generator, flakes: tuple[float, float, float, float], fall: tuple[float, float], keep: float
) -> np.ndarray:
    """Whiten the image and add falling flakes, once as drawn and once rotated by 180 degrees.

    Parameters
    ----------
    image, rng : as in every rule
    flakes : mean and standard deviation of the normal noise, its zoom, and the threshold below which there is no flake
    fall : radius and sigma of `blur_along`, at an angle drawn within 45 degrees of the vertical
    keep : share of the image that is not whitened
    """
    mean, deviation, zoom, threshold = flakes
    layer = zoom_centre(rng.normal(mean, deviation, size=(*image.shape[:2], 1)), zoom)
    layer = quantise(np.where(layer < threshold, 0, layer)) / 255
    layer = quantise(blur_along(layer, *fall, rng.uniform(-135, -45))) / 255
    grey = image @ LUMA if image.shape[2] == 3 else image
    snowy: np.ndarray = keep * image + (1 - keep) * np.maximum(image, 1.5 * grey + 0.5) + layer + np.rot90(layer, 2)
    return snowy


def fog(image: np.ndarray, rng: np.random.Generator, thickness: float, decay: float) -> np.ndarray:
    """Add ``thickness`` times a `plasma` of roughness ``decay``, then scale back to the image's maximum."""
    height, width = image.shape[:2]
    brightest = image.max()
    side = 1 << max(1, (max(height, width) - 1).bit_length())
    mist = plasma(rng, side, decay)[:height, :width, np.newaxis]
    foggy: np.ndarray = (image + thickness * mist) * brightest / (brightest + thickness)
    return foggy


def plasma(rng: np.random.Generator, side: int, decay: float) -> np.ndarray:
    """Draw a height map by the diamond-square algorithm on a torus.

    Parameters
    ----------
    rng : generator
    side : a power of two, at least 2
    decay : the amplitude shrinks by decay² each time the grid spacing is halved

    Returns
    -------
    (side, side), spanning 0..1.
    """
    heights: np.ndarray = np.zeros((side, side))
    step, spread = side, 100.0
    while step > 1:
        half = step // 2
        corners, centres = heights[::step, ::step], heights[half::step, half::step]
        beside, below = corners + np.roll(corners, -1, axis=1), corners + np.roll(corners, -1, axis=0)
        around_centre = beside + np.roll(beside, -1, axis=0)
        jitters = spread * rng.uniform(-spread, spread, size=(3, *corners.shape))
        centres[...] = around_centre / 4 + jitters[0]
        heights[::step, half::step] = (beside + centres + np.roll(centres, 1, axis=0)) / 4 + jitters[1]
        heights[half::step, ::step] = (below + centres + np.roll(centres, 1, axis=1)) / 4 + jitters[2]
        step, spread = half, spread / decay
    heights -= heights.min()
    heights /= heights.max()
    return heights


def contrast(image: np.ndarray, scale: float) -> np.ndarray:
    """Scale the difference of each value from the mean of its channel."""
    mean = image.mean(axis=(0, 1))
    scaled: np.ndarray = (image - mean) * scale + mean
    return scaled


def brightness(image: np.ndarray, shift: float) -> np.ndarray:
    """Add ``shift`` to the value (HSV), up to 1; hue and saturation stay."""
    value, saturation, direction = split_value(image)
    brighter: np.ndarray = np.minimum(value + shift, 1) * (1 - saturation * direction)
    return brighter


def saturate(image: np.ndarray, scale: float, shift: float) -> np.ndarray:
    """Map the saturation (HSV) s to ``scale``·s + ``shift``, clipped to 0..1; value and hue stay, so images of one channel do not change.

    As usual in HSV, the hue of a grey pixel is red, so that a shift tints the grey parts of a colour image reddish.
    """
    value, saturation, direction = split_value(image)
    saturated: np.ndarray = value * (1 - np.clip(saturation * scale + shift, 0, 1) * direction)
    return saturated


def split_value(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Split an image into HSV's value v and saturation s, (H, W, 1), and d, (H, W, C), such that it equals v·(1 − s·d).

    d depends only on the hue: it is 0 in the brightest channel and 1 in the darkest.
    """
    value = image.max(axis=2, keepdims=True)
    gap = value - image
    widest = gap.max(axis=2, keepdims=True)
    red = np.broadcast_to(np.array([0.0, 1.0, 1.0])[: image.shape[2]], image.shape)
    direction = np.divide(gap, widest, out=red.copy(), where=widest > 0)
    saturation = np.divide(widest, value, out=np.zeros_like(value), where=value > 0)
    return value, saturation, direction


def elastic_transform(image: np.ndarray, rng: np.random.Generator, strength: float, smoothness: float, jitter: float) -> np.ndarray:
    """Apply the affine map that moves three points of the image at random, then shift each pixel by a smooth random field.

    Parameters
    ----------
    image, rng : as in every rule
    strength : scale of the field, in multiples of the image's shorter side
    smoothness : sigma of the Gaussian that smooths the field of uniform draws in −1..1, in the same unit
    jitter : largest shift of a point's coordinate, in the same unit
    """
    height, width = image.shape[:2]
    side = min(height, width)
    arm = max(side // 3, 1)
    points = np.array([height // 2, width // 2]) + arm * np.array([[1, 1], [-1, 1], [-1, -1]])
    moved = points + rng.uniform(-jitter * side, jitter * side, size=points.shape)
    inverse = np.linalg.solve(np.column_stack([moved, np.ones(3)]), points)
    grid = np.indices((height, width), dtype=np.float64)
    origin = np.tensordot(inverse[:2], grid, axes=(0, 0)) + inverse[2][:, np.newaxis, np.newaxis]
    draws = rng.uniform(-1, 1, size=grid.shape)
    sigma = smoothness * side
    field = ndimage.gaussian_filter(draws, (0, sigma, sigma), mode="reflect", truncate=3.0) * strength * side
    return sample_at(sample_at(image, origin, "mirror"), grid + field, "reflect")


def sample_at(image: np.ndarray, positions: np.ndarray, border: Literal["mirror", "reflect"]) -> np.ndarray:
    """Return the image (H, W, C) linearly interpolated at the positions (2, H, W) of rows and columns."""
    channels = [ndimage.map_coordinates(channel, positions, order=1, mode=border) for channel in image.transpose(2, 0, 1)]
    return np.stack(channels, axis=2)


def pixelate(image: np.ndarray, scale: float) -> np.ndarray:
    """Shrink each side to ``scale`` times its length, rounded down, then enlarge it again, both with a box filter."""
    height, width = image.shape[:2]
    small = max(int(width * scale), 1), max(int(height * scale), 1)
    return from_picture(to_picture(image).resize(small, Image.Resampling.BOX).resize((width, height), Image.Resampling.BOX))


def jpeg_compression(image: np.ndarray, quality: int) -> np.ndarray:
    """Compress the image as a JPEG file and read it back."""
    file = io.BytesIO()
    to_picture(image).save(file, "JPEG", quality=quality)
    return from_picture(Image.open(file))


def to_picture(image: np.ndarray) -> Image.Image:
    """Turn an image (H, W, C) in 0..1 into an 8-bit picture, RGB or grey."""
    levels = quantise(image)
    return Image.fromarray(levels if levels.shape[2] == 3 else levels[:, :, 0])


def from_picture(picture: Image.Image) -> np.ndarray:
    """Turn a picture into an image (H, W, C) in 0..1."""
    levels = np.asarray(picture) / 255
    return levels.reshape(*levels.shape[:2], -1)


@dataclass(frozen=True)
class Corruption:
    """A rule and its published severities.

    Parameters
    ----------
    rule : image, (generator,) parameters → image
    severities : the rule's parameters at severity 1, 2, …
    draws : whether the rule is random and takes a generator
    """

    rule: Callable[..., np.ndarray]
    severities: tuple[tuple[Any, ...], ...]
    draws: bool = False


CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": Corruption(gaussian_noise, ((0.04,), (0.06,), (0.08,), (0.09,), (0.10,)), draws=True),
    "shot_noise": Corruption(shot_noise, ((500,), (250,), (100,), (75,), (50,)), draws=True),
    "impulse_noise": Corruption(impulse_noise, ((0.01,), (0.02,), (0.03,), (0.05,), (0.07,)), draws=True),
    "speckle_noise": Corruption(speckle_noise, ((0.06,), (0.1,), (0.12,), (0.16,), (0.2,)), draws=True),
    "defocus_blur": Corruption(defocus_blur, ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))),
    "gaussian_blur": Corruption(gaussian_blur, ((0.4,), (0.6,), (0.7,), (0.8,), (1,))),
    "glass_blur": Corruption(glass_blur, ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)), draws=True),
    "motion_blur": Corruption(motion_blur, ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)), draws=True),
    "zoom_blur": Corruption(zoom_blur, tuple((tuple(np.arange(1, stop, 0.01).tolist()),) for stop in (1.06, 1.11, 1.16, 1.21, 1.26))),
    "snow": Corruption(
        snow,
        (
            ((0.1, 0.2, 1, 0.6), (8, 3), 0.95),
            ((0.1, 0.2, 1, 0.5), (10, 4), 0.9),
            ((0.15, 0.3, 1.75, 0.55), (10, 4), 0.9),
            ((0.25, 0.3, 2.25, 0.6), (12, 6), 0.85),
            ((0.3, 0.3, 1.25, 0.65), (14, 12), 0.8),
        ),
        draws=True,
    ),
    "fog": Corruption(fog, ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)), draws=True),
    "brightness": Corruption(brightness, ((0.05,), (0.1,), (0.15,), (0.2,), (0.3,))),
    "contrast": Corruption(contrast, ((0.75,), (0.5,), (0.4,), (0.3,), (0.15,))),
    "saturate": Corruption(saturate, ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2))),
    "elastic_transform": Corruption(
        elastic_transform, ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)), draws=True
    ),
    "pixelate": Corruption(pixelate, ((0.95,), (0.9,), (0.85,), (0.75,), (0.65,))),
    "jpeg_compression": Corruption(jpeg_compression, ((80,), (65,), (58,), (50,), (40,))),
}


def corrupt_images(images: np.ndarray, ids: np.ndarray, name: str, severity: int, seed: int) -> np.ndarray:
    """Corrupt each image by a rule whose draws depend only on the seed, the name, the severity and the image's id.

    Parameters
    ----------
    images : (N, C, H, W) uint8; C is 1 or 3
    ids : (N,) integers, the sample ids
    name : a key of `CORRUPTIONS`
    severity : 0 (no corruption) to 5
    seed : of the stream

    Returns
    -------
    (N, C, H, W) uint8, a new array.

    Raises
    ------
    DataError
        The name or the severity is unknown, or the images' shape, type or number differs from the above.
    """
    if name not in CORRUPTIONS:
        raise DataError(f"corruption: {name!r} is not known{suggest(name, CORRUPTIONS)}")
    if severity not in range(SEVERITIES + 1):
        raise DataError(f"severity: {severity!r} is not known{suggest(severity, map(str, range(SEVERITIES + 1)))}")
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3) or len(images) != len(ids):
        raise DataError(f"images: {images.dtype} {images.shape} with {len(ids)} ids; must be uint8 (N, 1 or 3, H, W) with N ids")
    corrupted = images.copy()
    if severity == 0:
        return corrupted
    corruption, severity = CORRUPTIONS[name], int(severity)
    for row, sample_id in enumerate(np.asarray(ids).tolist()):
        image = np.ascontiguousarray(images[row].transpose(1, 2, 0)) / 255
        generator = [np.random.default_rng(derive_seed("corruption", seed, name, severity, sample_id))] if corruption.draws else []
        corrupted[row] = quantise(corruption.rule(image, *generator, *corruption.severities[severity - 1])).transpose(2, 0, 1)
    return corrupted
