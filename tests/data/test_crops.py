"""Crops: their positions, their boxes, and that their pixels come from these boxes."""

import math

import numpy as np
import pytest
from PIL import Image

import pixpro_tf  # noqa: F401 - chooses Keras 2, so it comes before TensorFlow

# isort: split
import tensorflow as tf

from pixpro_tf.data.views import crops, randomness
from pixpro_tf.ops import geometry

make_view = tf.function(crops.make_view, reduce_retracing=True)
draw_crop = tf.function(crops.draw_crop)
crop_box = tf.function(crops.crop_box)


@tf.function
def draw_many(count, height, width, min_area, max_area, view):
    def draw(position):
        key = randomness.image_key(11, 0, position)
        crop, flipped = crops.draw_crop(key, view, height, width, min_area, max_area)
        return tf.stack(crop), flipped

    return tf.vectorized_map(draw, tf.range(count))


def crops_of(count, height, width, min_area=0.08, view=1, max_area=1.0):
    """Returns rows, columns, heights and widths of crops, and whether each is flipped."""
    size = tf.constant(height), tf.constant(width)
    areas = tf.constant(min_area), tf.constant(max_area)
    drawn, flipped = draw_many(tf.constant(count), *size, *areas, view)
    return drawn.numpy().T, flipped.numpy()


def keys(count):
    return randomness.image_key(3, 0, tf.range(count))


# Boxes

# Height, width, (row, column, crop height, crop width), and the box by hand: the indices of the crop's first and last pixel, divided by the
# index of the image's last pixel.
# Source: the authors, (j/(W-1), i/(H-1), (j+w-1)/(W-1), (i+h-1)/(H-1)).
BOXES = [
    (101, 201, (0, 0, 101, 201), (0, 0, 1, 1)),
    (101, 201, (10, 20, 31, 41), (0.1, 0.1, 0.3, 0.4)),
    (101, 201, (70, 0, 31, 1), (0, 0.7, 0, 1)),
    (1, 200, (0, 33, 1, 1), (33 / 199, 0, 33 / 199, 0)),
    (200, 1, (99, 0, 2, 1), (0, 99 / 199, 0, 100 / 199)),
    (1, 1, (0, 0, 1, 1), (0, 0, 0, 0)),
]


@pytest.mark.parametrize(("height", "width", "crop", "expected"), BOXES)
def test_box_by_hand(height, width, crop, expected):
    crop = [tf.constant(value) for value in crop]
    height, width = tf.constant(height), tf.constant(width)
    box = crop_box(crop, height, width, tf.constant(False))
    assert box.dtype == tf.float32
    # The error of a float32 division is half a unit in the last place of a number of at most 1.
    np.testing.assert_allclose(box, expected, atol=1e-7)
    flipped = crop_box(crop, height, width, tf.constant(True))
    np.testing.assert_array_equal(flipped, tf.gather(box, [2, 1, 0, 3]))


def test_boxes_of_random_crops_equal_a_derivation_in_float64():
    (row, column, height, width), _ = crops_of(500, 97, 131)
    crop = [tf.constant(value) for value in (row, column, height, width)]
    box = crop_box(crop, tf.constant(97), tf.constant(131), tf.constant(False))
    expected = [column / 130, row / 96, (column + width - 1) / 130, (row + height - 1) / 96]
    np.testing.assert_allclose(box, expected, atol=1e-7)


def test_make_view_returns_the_box_of_the_drawn_crop():
    image = tf.zeros([60, 90, 3], tf.uint8)
    flips = []
    for key in keys(20):
        crop, flipped = draw_crop(key, 2, tf.constant(60), tf.constant(90), 0.08)
        i, j, h, w = (value.numpy() for value in crop)
        x = (j / 89, (j + w - 1) / 89)
        x0, x1 = x[::-1] if flipped else x
        _, box = make_view(image, key, 2, 8, 0.08)
        np.testing.assert_allclose(box, (x0, i / 59, x1, (i + h - 1) / 59), atol=1e-7)
        flips.append(bool(flipped))
    assert set(flips) == {False, True}


# Distribution


@pytest.mark.parametrize(("height", "width"), [(400, 500), (500, 375), (37, 41), (5, 7), (2, 2)])
def test_crops_lie_inside_the_image(height, width):
    (row, column, crop_height, crop_width), _ = crops_of(1000, height, width)
    assert row.min() >= 0 and column.min() >= 0
    assert crop_height.min() >= 1 and crop_width.min() >= 1
    assert (row + crop_height).max() <= height and (column + crop_width).max() <= width


def reference_crop(rng, height, width, min_area):
    """Random resized crop as in the paper, with NumPy's generator."""
    for _ in range(10):
        area = height * width * rng.uniform(min_area, 1)
        ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return rng.integers(0, height - h + 1), rng.integers(0, width - w + 1), h, w
    ratio = min(max(width / height, 3 / 4), 4 / 3)
    w = width if width / height <= ratio else round(height * ratio)
    h = height if width / height >= ratio else round(width / ratio)
    return (height - h) // 2, (width - w) // 2, h, w


def kolmogorov_distance(sample, other):
    places = np.concatenate([sample, other])
    below = np.searchsorted(np.sort(sample), places, side="right") / len(sample)
    return abs(below - np.searchsorted(np.sort(other), places, side="right") / len(other)).max()


@pytest.mark.parametrize(("height", "width"), [(400, 500), (300, 900)])
def test_crops_have_the_distribution_of_a_numpy_implementation(height, width):
    rng = np.random.default_rng(0)
    ours, _ = crops_of(4000, height, width)
    theirs = np.array([reference_crop(rng, height, width, 0.08) for _ in range(20000)]).T
    # Two-sample Kolmogorov-Smirnov bound of 1e-6: sqrt(-ln(1e-6 / 2) / 2 * (1/4000 + 1/20000)) = 0.047.
    for name, one, other in zip(("row", "column", "height", "width"), ours, theirs, strict=True):
        assert kolmogorov_distance(one, other) < 0.047, name
    area, ratio = ours[2] * ours[3], ours[3] / ours[2]
    assert kolmogorov_distance(area, theirs[2] * theirs[3]) < 0.047
    assert kolmogorov_distance(ratio, theirs[3] / theirs[2]) < 0.047


def test_small_areas_are_uniform_and_ratios_log_uniform():
    # If the area is at most 9/16 of a square image, every aspect ratio fits, so no crop is rejected and the area is uniform as drawn.
    (_, _, height, width), _ = crops_of(5000, 600, 600)
    area, log_ratio = height * width / 600**2, np.log(width / height)
    assert 0.08 - 0.002 < area.min() < 0.085
    assert abs(log_ratio).max() < math.log(4 / 3) + 0.01
    small = area < 9 / 16
    counts, _ = np.histogram(area[small], bins=10, range=(0.08, 9 / 16))
    mean = small.sum() / 10
    # Chi-square with 9 degrees of freedom exceeds 45 once in a million.
    assert ((counts - mean) ** 2 / mean).sum() < 45
    counts, _ = np.histogram(
        log_ratio[small], bins=10, range=(-math.log(4 / 3) - 1e-3, math.log(4 / 3) + 1e-3)
    )
    # Rounding to whole pixels moves a few aspect ratios to a neighbouring bin.
    assert ((counts - mean) ** 2 / mean).sum() < 50


def test_areas_are_uniform_up_to_the_largest():
    _, _, height, width = crops_of(4000, 600, 600, min_area=0.1, max_area=0.4)[0]
    area = height * width / 600**2
    # Rounding can add half a pixel to a side.
    assert area.min() > 0.1 - 0.002 and 0.39 < area.max() < 0.4 + 0.002
    counts, _ = np.histogram(area, bins=6, range=(0.1, 0.4))
    # The tolerance is six standard deviations of a bin's count.
    np.testing.assert_allclose(counts, 4000 / 6, atol=6 * (4000 / 6) ** 0.5)


def test_half_of_the_views_are_flipped_and_views_are_independent():
    first, flips_1 = crops_of(4000, 300, 300)
    second, flips_2 = crops_of(4000, 300, 300, view=2)
    # The bound is five standard deviations of 4000 coin flips, and of a correlation of 4000 pairs.
    bound = 5 / math.sqrt(4000)
    assert abs(flips_1.mean() - 0.5) < bound / 2 and abs(flips_2.mean() - 0.5) < bound / 2
    assert abs(np.corrcoef(flips_1, flips_2)[0, 1]) < bound
    for one, other in zip(first, second, strict=True):
        assert abs(np.corrcoef(one, other)[0, 1]) < bound
        assert abs(np.corrcoef(one, flips_1)[0, 1]) < bound


def test_rows_and_columns_are_independent():
    row, column, height, width = crops_of(4000, 300, 300, max_area=0.2)[0]
    # Positions are divided by the space that the crop leaves, because a large crop leaves little space along both axes.
    correlation = np.corrcoef(row / (300 - height), column / (300 - width))[0, 1]
    # The bound is five standard deviations of a correlation of 4000 pairs.
    assert abs(correlation) < 5 / math.sqrt(4000)


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (1, 200, (0, 99, 1, 1)),
        (200, 1, (99, 0, 1, 1)),
        (10, 200, (0, 93, 10, 13)),
        (200, 10, (93, 0, 13, 10)),
    ],
)
def test_crops_of_extreme_images_are_central_because_no_attempt_fits(height, width, expected):
    # No crop of at least 0.9 of a 20:1 image fits with an aspect ratio of at most 4/3. The central crop has 10 * 4/3 = 13 pixels, rounded.
    drawn, _ = crops_of(50, height, width, min_area=0.9)
    np.testing.assert_array_equal(drawn.T, [expected] * 50)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 200), (200, 1), (3, 2)])
def test_tiny_images_have_views_and_finite_boxes(height, width):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    for key in keys(10):
        view, box = make_view(tf.constant(image), key, 1, 16, 0.08)
        assert view.shape == (16, 16, 3) and view.dtype == tf.uint8
        assert np.isfinite(box).all() and np.min(box) >= 0 and np.max(box) <= 1


def test_a_single_pixel_fills_the_view():
    image = tf.constant([[[10, 20, 30]]], tf.uint8)
    view, box = make_view(image, keys(1)[0], 1, 8, 0.08)
    np.testing.assert_array_equal(view, np.broadcast_to([10, 20, 30], (8, 8, 3)))
    np.testing.assert_array_equal(box, [0, 0, 0, 0])


# Pixels


@pytest.mark.parametrize("size", [16, 64, 224])
def test_views_equal_the_crops_of_pillow(size):
    coarse = np.random.default_rng(1).integers(0, 256, (20, 30, 3), np.uint8)
    picture = Image.fromarray(coarse).resize((150, 100), Image.Resampling.BICUBIC)
    for key in keys(6):
        crop, flipped = draw_crop(key, 1, tf.constant(100), tf.constant(150), 0.08)
        row, column, height, width = (int(value) for value in crop)
        expected = picture.crop((column, row, column + width, row + height))
        expected = expected.resize((size, size), Image.Resampling.BILINEAR)
        if flipped:
            expected = expected.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        view, _ = make_view(tf.constant(np.asarray(picture)), key, 1, size, 0.08)
        # Pillow rounds to integers between its two passes and uses fixed-point numbers, hence a tolerance of one level.
        difference = np.asarray(expected, np.int32) - view.numpy()
        assert abs(difference).max() <= 1


def test_downscaling_is_antialiased():
    stripes = np.zeros([64, 64, 3], np.uint8)
    stripes[:, ::2] = 255
    key = keys(1)[0]
    view, _ = make_view(tf.constant(stripes), key, 1, 8, 1.0)
    inside = view.numpy()[:, 2:-2].astype(float)
    # Stripes of one pixel become a flat grey when they are reduced several times, except for the tails of the kernel.
    assert abs(inside - 127.5).max() < 20


def ramp(height, width):
    """Image whose red channel is the column and whose green channel is the row, one level per pixel."""
    image = np.zeros([height, width, 3], np.uint8)
    image[..., 0] = np.arange(width)
    image[..., 1] = np.arange(height)[:, None]
    return image


def test_pixels_come_from_the_bin_centres_of_the_box():
    size, flips = 32, set()
    image = tf.constant(ramp(180, 256))
    for key in keys(12):
        view, box = make_view(image, key, 1, size, 0.2)
        centres = geometry.bin_centres(box[None], size, size)[0].numpy()
        seen = view.numpy()[..., :2].astype(np.float64)
        # Boxes span pixel centres, bins span pixel areas: they differ by up to half a pixel. Rounding adds half a level.
        # The outermost pixels are excluded, because their kernel is cut off at the edge of the crop.
        inside = slice(2, -2)
        np.testing.assert_allclose(
            seen[inside, inside], (centres * [255, 179])[inside, inside], rtol=0, atol=1.01
        )
        flips.add(bool(box[0] > box[2]))
    assert flips == {False, True}


def test_bins_of_a_feature_map_average_the_pixels_around_their_centres():
    image = tf.constant(ramp(256, 256))
    for key in keys(8):
        view, box = make_view(image, key, 2, 56, 0.3)
        means = view.numpy().reshape(7, 8, 7, 8, 3).mean(axis=(1, 3))[..., :2]
        centres = geometry.bin_centres(box[None], 7, 7)[0].numpy()
        # The tolerance is that of the test above, for the mean over the bin.
        np.testing.assert_allclose(means, centres * 255, rtol=0, atol=1.01)


def test_both_views_of_a_pixel_agree_on_its_position():
    image = tf.constant(ramp(256, 256))
    compared = 0
    for key in keys(10):
        colours, places = [], []
        for view in (1, 2):
            pixels, box = make_view(image, key, view, 28, 0.5)
            colours.append(pixels.numpy().reshape(-1, 3)[:, :2].astype(float))
            places.append(geometry.bin_centres(box[None], 28, 28).numpy().reshape(-1, 2))
        near = np.linalg.norm(places[0][:, None] - places[1][None], axis=-1) < 1e-2
        one, other = np.nonzero(near)
        distance = np.linalg.norm(colours[0][one] - colours[1][other], axis=-1)
        # 1e-2 of the image is 2.55 levels; each view adds up to one pixel per axis, and its outermost pixels another two.
        assert distance.max() < 2.55 + 2 * np.sqrt(2) * 3
        assert np.median(distance) < 2.55 + 1
        compared += len(one)
    assert compared > 1000


def test_a_crop_of_the_whole_image_has_the_unit_box():
    image = tf.constant(ramp(128, 128))
    seen = set()
    for key in keys(60):
        crop, flipped = draw_crop(key, 1, tf.constant(128), tf.constant(128), 1.0)
        if (crop[2].numpy(), crop[3].numpy()) != (128, 128):
            continue
        view, box = make_view(image, key, 1, 128, 1.0)
        expected = ramp(128, 128)
        if flipped:
            expected = expected[:, ::-1]
        np.testing.assert_array_equal(box, [1, 0, 0, 1] if flipped else [0, 0, 1, 1])
        np.testing.assert_array_equal(view, expected)
        seen.add(bool(flipped))
    assert seen == {False, True}


def test_a_view_is_the_same_in_a_dataset_and_in_a_function():
    image = tf.constant(np.random.default_rng(2).integers(0, 256, (50, 70, 3), np.uint8))
    key = keys(3)
    mapped = tf.data.Dataset.from_tensor_slices(key).map(
        lambda k: crops.make_view(image, k, 1, 24, 0.08)
    )
    for one, (view, box) in zip(key, mapped, strict=True):
        expected_view, expected_box = make_view(image, one, 1, 24, 0.08)
        assert abs(view.numpy().astype(int) - expected_view.numpy()).max() <= 1
        # Graph rewriting may turn a division into a multiplication, which changes one unit in the last place.
        np.testing.assert_allclose(box, expected_box, rtol=0, atol=1e-7)
