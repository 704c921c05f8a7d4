import ast
import colorsys
import functools
import inspect
import io

import numpy as np
import pytest
from corrupt_tta import corruptions as tta
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images

from selectbench.data import corruptions as ours
from selectbench.data.corruptions import CORRUPTIONS, SEVERITIES, corrupt_images, quantise
from selectbench.errors import DataError

DRAWING = sorted(name for name, corruption in CORRUPTIONS.items() if corruption.draws)
FIXED = sorted(set(CORRUPTIONS) - set(DRAWING))
LEVELS = range(1, SEVERITIES + 1)


def shrink(picture, side):
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BOX))


@pytest.fixture(scope="module")
def photos():
    """(48, 3, 32, 32): downscaled crops of two photographs."""
    pieces = [
        shrink(picture[top : top + 104, left : left + 104], 32)
        for picture in load_sample_images().images
        for top in range(0, 312, 104)
        for left in range(0, 532, 72)
    ]
    return np.stack(pieces).transpose(0, 3, 1, 2)


@pytest.fixture(scope="module")
def digits():
    """(48, 1, 8, 8)."""
    return np.round(load_digits().images[:48] * 255 / 16).astype(np.uint8)[:, np.newaxis]


@pytest.fixture(scope="module")
def photo():
    """(224, 224, 3): the size for which corrupt_tta's severities are meant."""
    return load_sample_images().images[0][100:324, 200:424]


def corrupt(images, name, severity, seed=0):
    return corrupt_images(images, np.arange(len(images)), name, severity, seed)


def mean_change(images, name, severity):
    return np.abs(corrupt(images, name, severity).astype(int) - images).mean()


def apply(name, severity, image, seed=0):
    corruption = CORRUPTIONS[name]
    generator = [np.random.default_rng(seed)] if corruption.draws else []
    return corruption.rule(image, *generator, *corruption.severities[severity - 1])


def test_the_names_are_the_published_ones():
    assert set(CORRUPTIONS) == {
        *("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"),
        *("defocus_blur", "gaussian_blur", "glass_blur", "motion_blur", "zoom_blur"),
        *("snow", "fog", "brightness", "contrast", "saturate", "elastic_transform", "pixelate", "jpeg_compression"),
    }


def test_the_severities_are_those_of_cifar_10_c():
    published = {
        "gaussian_noise": [0.04, 0.06, 0.08, 0.09, 0.10],
        "shot_noise": [500, 250, 100, 75, 50],
        "impulse_noise": [0.01, 0.02, 0.03, 0.05, 0.07],
        "speckle_noise": [0.06, 0.1, 0.12, 0.16, 0.2],
        "gaussian_blur": [0.4, 0.6, 0.7, 0.8, 1],
        "brightness": [0.05, 0.1, 0.15, 0.2, 0.3],
        "contrast": [0.75, 0.5, 0.4, 0.3, 0.15],
        "pixelate": [0.95, 0.9, 0.85, 0.75, 0.65],
        "jpeg_compression": [80, 65, 58, 50, 40],
    }
    assert {name: [value for (value,) in CORRUPTIONS[name].severities] for name in published} == published
    several = {
        "defocus_blur": [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)],
        "glass_blur": [(0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)],
        "motion_blur": [(6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)],
        "fog": [(0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)],
        "saturate": [(0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)],
        "elastic_transform": [(0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)],
    }
    assert {name: list(CORRUPTIONS[name].severities) for name in several} == several
    assert [(*flakes, *fall, keep) for flakes, fall, keep in CORRUPTIONS["snow"].severities] == [
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ]
    # The ends are those of floating-point ranges, which include their stop or not, depending on rounding.
    factors = [found for (found,) in CORRUPTIONS["zoom_blur"].severities]
    assert [(len(found), round(found[1], 9), round(found[-1], 9)) for found in factors] == [
        (7, 1.01, 1.06),
        (12, 1.01, 1.11),
        (16, 1.01, 1.15),
        (21, 1.01, 1.2),
        (26, 1.01, 1.25),
    ]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_severity_0_is_an_equal_copy(name, photos):
    images = photos[:3].copy()
    copy = corrupt(images, name, 0)
    assert np.array_equal(copy, images)
    copy[:] = 0
    assert np.array_equal(images, photos[:3])


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_an_image_depends_on_its_id_and_not_on_its_company(name, photos):
    images, ids = photos[:6], np.array([3, 141, 59, 26, 535, 8])
    whole = corrupt_images(images, ids, name, 3, 7)
    order = np.array([4, 2, 0, 5, 1, 3])
    assert np.array_equal(corrupt_images(images[order], ids[order], name, 3, 7), whole[order])
    assert np.array_equal(corrupt_images(images[2:4], ids[2:4], name, 3, 7), whole[2:4])
    assert np.array_equal(corrupt_images(images[5:], ids[5:], name, 3, 7), whole[5:])
    assert np.array_equal(images, photos[:6])


@pytest.mark.parametrize("name", DRAWING)
def test_draws_depend_on_seed_and_id(name, photos):
    images = np.repeat(photos[20:21], 8, axis=0)
    corrupted = np.concatenate([corrupt(images, name, 4, seed) for seed in (0, 1)])
    distinct = len(np.unique(corrupted, axis=0))
    # Without the seed there would be at most 8; similar angles of motion blur the same pixels.
    assert distinct == 16 or (name == "motion_blur" and distinct > 8)


@pytest.mark.parametrize("name", FIXED)
def test_a_corruption_without_draws_knows_neither_seed_nor_id(name, photos):
    assert np.array_equal(
        corrupt_images(photos[:2], np.array([1, 2]), name, 4, 0), corrupt_images(photos[:2], np.array([8, 9]), name, 4, 1)
    )


def test_names_and_severities_have_their_own_draws():
    grey = np.full((1, 1, 64, 64), 128, np.uint8)
    noise = [corrupt(grey, *axes).astype(float).ravel() for axes in [("gaussian_noise", 4), ("gaussian_noise", 5), ("speckle_noise", 4)]]
    correlations = np.corrcoef(noise)[np.triu_indices(3, 1)]
    assert np.abs(correlations).max() < 0.08  # five standard errors of 1 / sqrt(4096)


MONOTONE = ["gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "defocus_blur", "gaussian_blur", "zoom_blur", "fog"]
MONOTONE += ["snow", "brightness", "contrast", "jpeg_compression"]


@pytest.mark.parametrize("name", [*MONOTONE, "pixelate"])
def test_the_change_of_photographs_grows_with_severity(name, photos):
    changes = [mean_change(photos, name, severity) for severity in range(SEVERITIES + 1)]
    assert all(np.diff(changes) > 0), changes


@pytest.mark.parametrize("name", [name for name in MONOTONE if name != "zoom_blur"])
def test_the_change_of_digits_grows_with_severity(name, digits):
    changes = [mean_change(digits, name, severity) for severity in range(SEVERITIES + 1)]
    assert all(np.diff(changes) > 0), changes


def test_the_change_by_motion_grows_with_its_sigma(photos, digits):
    for images in (photos, digits):
        assert all(np.diff([mean_change(images, "motion_blur", severity) for severity in (0, 1, 2, 3, 5)]) > 0)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_images_of_8_by_8(name, channels, digits):
    images = np.concatenate([digits[:8], np.zeros((1, 1, 8, 8), np.uint8), np.full((1, 1, 8, 8), 255, np.uint8)])
    colours = images if channels == 1 else np.concatenate([images, images // 2, 255 - images], axis=1)
    for severity in LEVELS:
        with np.errstate(divide="raise", invalid="raise", over="raise"):
            corrupted = corrupt(colours, name, severity)
        assert corrupted.dtype == np.uint8
        assert corrupted.shape == colours.shape
        same = (name == "saturate" and channels == 1) or (name, severity) == ("zoom_blur", 1)
        assert np.array_equal(corrupted, colours) == same


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_images_that_are_not_square(name, photo):
    wide = photo[:24, :40].transpose(2, 0, 1)[np.newaxis]
    for severity in LEVELS:
        assert corrupt(wide, name, severity).shape == (1, 3, 24, 40)
        assert corrupt(wide[:, :1], name, severity).shape == (1, 1, 24, 40)


SAME_ON_GREY = ["defocus_blur", "gaussian_blur", "glass_blur", "motion_blur", "zoom_blur", "snow", "fog", "brightness", "contrast"]


@pytest.mark.parametrize("name", [*SAME_ON_GREY, "elastic_transform", "pixelate"])
def test_one_channel_is_a_colour_image_without_colour(name, photos):
    grey = photos[:4, 1:2]
    for severity in LEVELS:
        coloured = corrupt(np.repeat(grey, 3, axis=1), name, severity).astype(int)
        assert np.abs(coloured - corrupt(grey, name, severity)).max() <= (name == "snow")  # the luma weights add up to 1 up to rounding


def test_saturation_leaves_one_channel_and_tints_grey_colour_images(digits):
    assert np.array_equal(corrupt(digits, "saturate", 5), digits)
    assert np.array_equal(corrupt(np.repeat(digits, 3, axis=1), "saturate", 3), np.repeat(digits, 3, axis=1))
    red, green, blue = corrupt(np.repeat(digits, 3, axis=1), "saturate", 5).transpose(1, 0, 2, 3)
    assert np.array_equal(red, digits[:, 0])
    assert np.array_equal(green, blue)
    assert np.array_equal(green, np.floor(digits[:, 0] * 0.8 + 1e-6))


def test_unknown_names_and_severities(digits):
    with pytest.raises(DataError, match=r"^corruption: 'gausian_noise' is not known; did you mean 'gaussian_noise'\?$"):
        corrupt(digits, "gausian_noise", 0)
    with pytest.raises(DataError, match=r"^corruption: 'x' is not known; valid: brightness, contrast, [a-z_, ]+, zoom_blur$"):
        corrupt(digits, "x", 1)
    for severity in (6, 9, 2.5):
        with pytest.raises(DataError, match=rf"^severity: {severity} is not known; [^\n]+$"):
            corrupt(digits, "fog", severity)
    with pytest.raises(DataError, match=r"^severity: -1 is not known; did you mean '1'\?$"):
        corrupt(digits, "fog", -1)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda images: images / 255, r"float64 \(48, 1, 8, 8\) with 48 ids"),
        (lambda images: images[:, 0], r"uint8 \(48, 8, 8\) with 48 ids"),
        (lambda images: np.repeat(images, 4, axis=1), r"uint8 \(48, 4, 8, 8\) with 48 ids"),
        (lambda images: images[:5], r"uint8 \(5, 1, 8, 8\) with 48 ids"),
    ],
)
def test_images_that_cannot_be_corrupted(change, told, digits):
    with pytest.raises(DataError, match=rf"^images: {told}; must be uint8 \(N, 1 or 3, H, W\) with N ids$"):
        corrupt_images(change(digits), np.arange(48), "fog", 1, 0)


def test_levels_survive_floats():
    levels = np.arange(256, dtype=np.uint8)
    assert np.array_equal(quantise(levels / 255), levels)
    assert np.array_equal(quantise((levels / 255 - 0.3) * 0.7 / 0.7 + 0.3), levels)
    assert quantise(np.array([-0.2, 0.999 / 255, 1.2])).tolist() == [0, 0, 255]


@pytest.mark.parametrize("severity", LEVELS)
def test_noise_has_the_named_moments(severity):
    # 30,000 values: the standard error of a standard deviation is 0.4 %, of a variance 0.8 % and a little more for Poisson counts.
    for value in (0.1, 0.4, 0.8):
        image = np.full((100, 100, 3), value)
        (sigma,) = CORRUPTIONS["gaussian_noise"].severities[severity - 1]
        assert apply("gaussian_noise", severity, image).std() == pytest.approx(sigma, rel=0.02)
        (sigma,) = CORRUPTIONS["speckle_noise"].severities[severity - 1]
        assert apply("speckle_noise", severity, image).std() == pytest.approx(sigma * value, rel=0.02)
        (photons,) = CORRUPTIONS["shot_noise"].severities[severity - 1]
        counted = apply("shot_noise", severity, image)
        assert counted.var() == pytest.approx(value / photons, rel=0.05)
        assert counted.mean() == pytest.approx(value, abs=5 * np.sqrt(value / photons / 30_000))
        (share,) = CORRUPTIONS["impulse_noise"].severities[severity - 1]
        struck = apply("impulse_noise", severity, image)
        assert set(np.unique(struck)) == {0, value, 1}
        for end in (0, 1):
            assert np.mean(struck == end) == pytest.approx(share / 2, abs=5 * np.sqrt(share / 2 / 30_000))
        assert len(np.unique((struck != value).sum(axis=2))) > 1, "channels are struck one by one"


def test_contrast_by_hand():
    image = np.array([[[0, 0.5], [1, 0.5]], [[0.2, 0.1], [0.8, 0.9]]])
    expected = np.array([[[0.2, 0.5], [0.8, 0.5]], [[0.32, 0.26], [0.68, 0.74]]])  # 0.5 + 0.6 · distance
    assert ours.contrast(image, 0.6) == pytest.approx(expected)


@pytest.mark.parametrize("severity", LEVELS)
def test_brightness_and_saturation_are_those_of_hsv(severity):
    colours = np.random.default_rng(0).integers(0, 256, size=(12, 12, 3)) / 255
    colours[0], colours[1, :, 0] = np.linspace(0, 1, 12)[:, np.newaxis], 0
    hsv = np.apply_along_axis(lambda rgb: colorsys.rgb_to_hsv(*rgb), 2, colours)
    (shift,) = CORRUPTIONS["brightness"].severities[severity - 1]
    brighter = np.stack([hsv[..., 0], hsv[..., 1], np.minimum(hsv[..., 2] + shift, 1)], axis=2)
    assert apply("brightness", severity, colours) == pytest.approx(np.apply_along_axis(lambda c: colorsys.hsv_to_rgb(*c), 2, brighter))
    scale, shift = CORRUPTIONS["saturate"].severities[severity - 1]
    stronger = np.stack([hsv[..., 0], np.clip(hsv[..., 1] * scale + shift, 0, 1), hsv[..., 2]], axis=2)
    assert apply("saturate", severity, colours) == pytest.approx(np.apply_along_axis(lambda c: colorsys.hsv_to_rgb(*c), 2, stronger))


def test_pixelate_averages_boxes():
    image = np.array([[0, 40, 8, 8], [80, 120, 8, 8], [255, 255, 4, 0], [255, 255, 0, 4]], np.uint8)[..., np.newaxis] / 255
    expected = np.repeat(np.repeat([[60, 8], [255, 2]], 2, axis=0), 2, axis=1)
    assert quantise(ours.pixelate(image, 0.5))[..., 0].tolist() == expected.tolist()


@pytest.mark.parametrize("severity", LEVELS)
def test_pixelate_and_jpeg_are_those_of_pillow(severity, photos, digits):
    sizes, qualities = [30, 28, 27, 24, 20], [80, 65, 58, 50, 40]
    small = [7, 7, 6, 6, 5]
    for images, sides in ((photos[:8], sizes), (digits[:8], small)):
        pictures = [Image.fromarray(image.transpose(1, 2, 0) if len(image) == 3 else image[0]) for image in images]
        pixelated, compressed = corrupt(images, "pixelate", severity), corrupt(images, "jpeg_compression", severity)
        for row, picture in enumerate(pictures):
            expected = picture.resize((sides[severity - 1],) * 2, Image.BOX).resize(picture.size, Image.BOX)
            assert np.array_equal(np.atleast_3d(expected), pixelated[row].transpose(1, 2, 0))
            file = io.BytesIO()
            picture.save(file, "JPEG", quality=qualities[severity - 1])
            assert np.array_equal(np.atleast_3d(Image.open(file)), compressed[row].transpose(1, 2, 0))


BLURS = ["defocus_blur", "gaussian_blur", "glass_blur", "motion_blur", "zoom_blur"]


@pytest.mark.parametrize("name", [*BLURS, "elastic_transform", "pixelate", "contrast"])
def test_a_constant_image_stays(name):
    images = np.array([0, 1, 77, 200, 255], np.uint8)[:, np.newaxis, np.newaxis, np.newaxis] * np.ones((1, 3, 16, 16), np.uint8)
    for severity in LEVELS:
        assert np.array_equal(corrupt(images, name, severity), images)


@pytest.mark.parametrize("severity", LEVELS)
@pytest.mark.parametrize("name", ["defocus_blur", "gaussian_blur"])
def test_blurs_preserve_the_mean(name, severity, photos):
    image = np.pad(photos[0].transpose(1, 2, 0) / 255, ((5, 5), (5, 5), (0, 0)))
    blurred = apply(name, severity, image)
    assert blurred.mean(axis=(0, 1)) == pytest.approx(image.mean(axis=(0, 1)), rel=1e-12)
    assert blurred.var() < image.var()


def test_gaussian_blur_of_a_point():
    point = np.zeros((15, 15, 1))
    point[7, 7] = 1
    offsets = np.arange(-3, 4)
    taps = np.exp(-(offsets**2) / (2 * 0.7**2))
    expected = np.outer(taps, taps) / taps.sum() ** 2
    assert ours.gaussian_blur(point, 0.7)[4:11, 4:11, 0] == pytest.approx(expected)


def test_defocus_discs():
    side, centre = np.exp(-1 / (2 * 0.4**2)), 1.0
    taps = np.array([side, centre, side]) / (2 * side + centre)
    assert ours.soft_disc(0.3, 0.4)[1:-1, 1:-1] == pytest.approx(np.outer(taps, taps))
    nearly_plus = ours.soft_disc(1, 0.01)
    assert nearly_plus[2:-2, 2:-2] == pytest.approx(np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]]) / 5)


@pytest.mark.parametrize("severity", LEVELS)
def test_defocus_discs_are_those_of_opencv(severity):
    radius, softness = CORRUPTIONS["defocus_blur"].severities[severity - 1]
    disc = ours.soft_disc(radius, softness)
    padded = np.pad(disc, (17 - len(disc)) // 2)
    assert padded == pytest.approx(tta.disk(radius, softness), abs=1e-6)


def displace_in_a_loop(image, shifts, reach):
    """Displace pixels with the published statement, which swaps two views of one array and therefore copies."""
    image = image.copy()
    height, width = image.shape[:2]
    for row in range(height - reach, reach, -1):
        for column in range(width - reach, reach, -1):
            down, right = shifts[:, row, column]
            other, beside = row + down, column + right
            image[row, column], image[other, beside] = image[other, beside], image[row, column]
    return image


@pytest.mark.parametrize("reach", [1, 2, 4])
def test_glass_displaces_pixels_as_the_published_loop(reach):
    rng = np.random.default_rng(reach)
    for height, width in ((8, 8), (32, 32), (11, 23)):
        image = rng.random((height, width, 3))
        shifts = rng.integers(-reach, reach, size=(2, height, width))
        displaced = ours.displace_pixels(image, shifts, reach)
        assert np.array_equal(displaced, displace_in_a_loop(image, shifts, reach))
        assert reach * 2 >= height or not np.array_equal(displaced, image)


def test_motion_blur_of_a_point():
    point = np.zeros((21, 21, 1))
    point[10, 10] = 1
    weights = np.exp(-(np.arange(13) ** 2) / (2 * 2.0**2))
    weights /= weights.sum()
    for angle, towards in ((0, (0, -1)), (90, (-1, 0)), (180, (0, 1)), (-90, (1, 0)), (45, (-1, -1))):
        blurred = ours.blur_along(point, 6, 2, angle)[..., 0]
        # At 45 degrees a step of 1 moves cos(45°) of a pixel along each axis, so some positions are visited twice.
        places = np.ceil(np.arange(13) * np.cos(np.pi / 4) - 0.5).astype(int) if angle == 45 else np.arange(13)
        expected = np.zeros((21, 21))
        for weight, place in zip(weights, places, strict=True):
            if place <= 10:
                expected[10 + place * towards[0], 10 + place * towards[1]] += weight
        assert blurred == pytest.approx(expected, abs=1e-12)


def test_motion_blur_is_that_of_imagemagick():
    # Written by ImageMagick 6.9.11: -motion-blur 6x2-30 and -motion-blur 9x2.5+70.
    image = (np.arange(36).reshape(6, 6, 1) ** 2 * 37 % 256) / 255
    upwards = [54, 86, 114, 107, 131, 157, 71, 81, 87, 142, 143, 146, 113, 110, 128, 127, 85, 151]
    upwards += [144, 74, 137, 132, 208, 165, 103, 157, 189, 151, 109, 129, 90, 169, 66, 108, 99, 97]
    downwards = [47, 79, 117, 106, 118, 141, 105, 105, 98, 145, 75, 128, 176, 83, 117, 105, 93, 115]
    downwards += [168, 39, 145, 84, 93, 74, 116, 87, 92, 60, 33, 48, 104, 127, 42, 62, 16, 13]
    for parameters, expected in (((6, 2, -30), upwards), ((9, 2.5, 70), downwards)):
        assert quantise(ours.blur_along(image, *parameters)).ravel().tolist() == expected


def test_fog_keeps_the_maximum_and_falls_back_to_the_image():
    image = np.random.default_rng(0).random((32, 32, 3)) * 0.6
    fogged = ours.fog(image, np.random.default_rng(1), 1.5, 1.75)
    assert fogged.max() <= image.max()
    assert fogged.std(axis=(0, 1)).max() < image.std(axis=(0, 1)).min()
    assert ours.fog(image, np.random.default_rng(1), 0.0, 2.0) == pytest.approx(image)
    heights = ours.plasma(np.random.default_rng(2), 64, 3.0)
    assert (heights.shape, heights.min(), heights.max()) == ((64, 64), 0, 1)


def test_plasma_gets_rougher_as_its_decay_falls():
    steps = [np.abs(np.diff(ours.plasma(np.random.default_rng(3), 64, decay), axis=0)).mean() for decay in (3, 2.5, 2, 1.75, 1.4)]
    assert all(np.diff(steps) > 0)


def test_elastic_moves_by_a_known_map():
    image = np.random.default_rng(0).random((9, 9, 2))
    assert ours.elastic_transform(image, np.random.default_rng(0), 0, 0, 0) == pytest.approx(image)
    rows, columns = np.indices((9, 9), dtype=float)
    shifted = ours.sample_at(image, np.stack([rows, columns - 0.25]), "mirror")
    assert shifted[:, 1:] == pytest.approx(0.75 * image[:, 1:] + 0.25 * image[:, :-1])


# corrupt_tta applies the same rules with ImageNet-C's severities; below, its numbers and draws are passed to the rules of this package.


def their_parameters(name):
    """Read the table of severities from a function of corrupt_tta."""
    tree = ast.parse(inspect.getsource(getattr(tta, name)))
    table = next(node.value.value for node in ast.walk(tree) if isinstance(node, ast.Assign) and node.targets[0].id == "c")
    rows = eval(compile(ast.Expression(table), name, "eval"), {"np": np})
    return [row if isinstance(row, tuple) else (row,) for row in rows]


def differ(mine, theirs):
    """Return the mean and the largest absolute difference in levels of 255."""
    difference = np.abs(np.clip(mine, 0, 1) * 255 - theirs)
    return difference.mean(), difference.max()


@pytest.mark.parametrize(
    ("name", "mean", "largest"),
    [
        ("brightness", 1e-3, 0.01),  # float32
        ("contrast", 1e-9, 1e-6),
        ("saturate", 1e-3, 0.01),  # float32
        ("pixelate", 1e-9, 1e-6),
        ("jpeg_compression", 1e-9, 1e-6),
        ("gaussian_blur", 1e-9, 1e-6),
        ("defocus_blur", 1e-3, 0.01),  # float32
        ("zoom_blur", 1e-3, 0.01),  # float32
    ],
)
@pytest.mark.parametrize("severity", LEVELS)
def test_rules_without_draws_agree_with_corrupt_tta(name, mean, largest, severity, photo):
    parameters = their_parameters(name)[severity - 1]
    if name == "zoom_blur":
        parameters = (tuple(parameters[0].tolist()),)
    theirs = getattr(tta, name)(photo, severity)
    assert np.abs(theirs - photo.astype(float)).mean() > 1
    found = differ(CORRUPTIONS[name].rule(photo / 255, *parameters), theirs)
    assert found[0] <= mean and found[1] <= largest, found


@pytest.mark.parametrize("severity", LEVELS)
@pytest.mark.parametrize("name", ["gaussian_noise", "shot_noise", "speckle_noise", "impulse_noise"])
def test_noise_agrees_with_corrupt_tta_on_the_same_draws(name, severity, photo, monkeypatch):
    parameters = their_parameters(name)[severity - 1]
    rng = np.random.default_rng(11)
    monkeypatch.setattr(np.random, "normal", rng.normal)
    monkeypatch.setattr(np.random, "poisson", rng.poisson)
    monkeypatch.setattr(tta, "random_noise", functools.partial(tta.random_noise, rng=11))
    theirs = getattr(tta, name)(photo, severity)
    assert differ(CORRUPTIONS[name].rule(photo / 255, np.random.default_rng(11), *parameters), theirs)[1] < 1e-6


@pytest.mark.parametrize("severity", LEVELS)
def test_fog_agrees_with_corrupt_tta_on_the_same_draws(severity, photo, monkeypatch):
    # corrupt_tta does not pass the decay on, so its default of 3 applies at every severity.
    thickness, _ = their_parameters("fog")[severity - 1]
    monkeypatch.setattr(np.random, "uniform", np.random.default_rng(11).uniform)
    theirs = tta.fog(photo, severity)
    assert differ(ours.fog(photo / 255, np.random.default_rng(11), thickness, 3), theirs)[1] < 1e-6
    monkeypatch.setattr(np.random, "uniform", np.random.default_rng(11).uniform)
    plasma = tta.plasma_fractal(64, wibbledecay=1.75)
    assert ours.plasma(np.random.default_rng(11), 64, 1.75) == pytest.approx(plasma)


def blur_along_in_levels(layer, radius, sigma, angle):
    """Blur as in the published rule: an 8-bit image is passed to ImageMagick, which returns an 8-bit image."""
    return quantise(ours.blur_along(quantise(layer) / 255, radius, sigma, angle))[..., 0] / 255


@pytest.mark.parametrize("severity", LEVELS)
def test_snow_agrees_with_corrupt_tta_on_the_same_draws(severity, photo, monkeypatch):
    # corrupt_tta blurs the flakes evenly to both sides, whatever sigma, before clipping them; here it gets the published blur.
    *flakes, radius, sigma, keep = their_parameters("snow")[severity - 1]
    rng = np.random.default_rng(11)
    monkeypatch.setattr(np.random, "normal", rng.normal)
    monkeypatch.setattr(np.random, "uniform", rng.uniform)
    monkeypatch.setattr(tta, "cv2_motion_blur", blur_along_in_levels)
    theirs = tta.snow(photo, severity)
    mine = ours.snow(photo / 255, np.random.default_rng(11), flakes, (radius, sigma), keep)
    assert differ(mine, theirs)[1] < 0.01


@pytest.mark.parametrize("severity", LEVELS)
def test_elastic_agrees_with_corrupt_tta_on_the_same_draws(severity, photo, monkeypatch):
    strength, smoothness, jitter = (pixels / 224 for pixels in their_parameters("elastic_transform")[severity - 1])
    rng = np.random.default_rng(11)
    moves, field = rng.uniform(-jitter * 224, jitter * 224, size=(3, 2)), rng.uniform(-1, 1, size=(2, 224, 224))
    # This package draws rows before columns, corrupt_tta x before y.
    draws = iter([moves[:, ::-1], field[1], field[0]])
    monkeypatch.setattr(np.random, "uniform", lambda low, high, size: next(draws))
    theirs = tta.elastic_transform(photo, severity)
    mine = ours.elastic_transform(photo / 255, np.random.default_rng(11), strength, smoothness, jitter)
    mean, _ = differ(mine, theirs)
    assert mean < 0.5  # float32, and some versions of OpenCV interpolate the affine map in steps of 1/32 pixel


@pytest.mark.parametrize("severity", LEVELS)
def test_glass_changes_as_much_as_that_of_corrupt_tta(severity, photo):
    # corrupt_tta swaps pixels, from the first to the last; the published loop copies, dropping some pixels and doubling others, so
    # the mean wanders by a level and the change is up to 8 % larger; the loop itself is tested above.
    crop = photo[:64, :64]
    parameters = their_parameters("glass_blur")[severity - 1]
    np.random.seed(11)
    theirs = tta.glass_blur(crop, severity) - crop
    mine = ours.glass_blur(crop / 255, np.random.default_rng(11), *parameters) * 255 - crop
    assert mine.mean() == pytest.approx(theirs.mean(), abs=1.5)
    assert mine.std() == pytest.approx(theirs.std(), rel=0.1)


def test_motion_blur_is_not_that_of_corrupt_tta():
    # corrupt_tta averages evenly to both sides of a pixel without a sigma; the published blur is weighted and one-sided.
    point = np.zeros((41, 41, 1))
    point[20, 20] = 1
    theirs, mine = tta.cv2_motion_blur(point, 10, 3, 0), ours.blur_along(point, 10, 3, 0)[..., 0]
    assert np.flatnonzero(theirs[20] > 1e-6).tolist() == list(range(10, 31))
    assert np.flatnonzero(mine[20]).tolist() == list(range(0, 21))
