"""Photometric operations compared with Pillow and NumPy, and frequency, order and independence of the policies."""

import colorsys
import itertools
import math

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

import pixpro_tf  # noqa: F401 - chooses Keras 2, so it comes before TensorFlow

# isort: split
import tensorflow as tf

from pixpro_tf.data.views import photometric, randomness
from pixpro_tf.data.views.channels import RGB

MANY = 6000
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
STATISTICS = (tuple(MEAN.tolist()), tuple(STD.tolist()))


def keys(count, seed=5):
    return randomness.image_key(seed, 0, tf.range(count))


def pictures(count=4, size=24):
    """Smooth and noisy, light and dark images; uint8."""
    rng = np.random.default_rng(0)
    images = []
    for index in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), np.uint8))
        smooth = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), np.float64)
        smooth = smooth if index % 2 == 0 else rng.integers(0, 256, (size, size, 3))
        images.append(smooth * (1, 1, 0.5, 0.3)[index % 4])
    return np.round(images).astype(np.uint8)


def planes(images):
    """Converts `[B, H, W, 3]` to `[B, 3, H, W]`, the layout of the operations."""
    return tf.transpose(tf.constant(images, tf.float32), [0, 3, 1, 2])


def pixels(planes):
    """Converts `[B, 3, H, W]` back to `[B, H, W, 3]`."""
    return np.moveaxis(np.asarray(planes), 1, -1)


def levels_of(augmented):
    """Inverts the normalisation by its definition."""
    return 255 * (np.asarray(augmented, np.float64) * STD + MEAN)


def by_pillow(function, images):
    return np.stack([np.asarray(function(Image.fromarray(image))) for image in images]).astype(int)


def assert_within(actual, expected, levels):
    difference = abs(np.asarray(actual, np.float64) - expected).max()
    assert difference <= levels, difference


# Operations of the jitter

BRIGHTNESS, CONTRAST, SATURATION = range(3)


@pytest.mark.parametrize("factor", [0.0, 0.6, 1.0, 1.4])
@pytest.mark.parametrize(
    ("kind", "enhance", "tolerance"),
    [
        # Pillow truncates to integers (1 level). It also rounds the grey that it blends with (half a level, times a factor of up to 1).
        pytest.param(BRIGHTNESS, ImageEnhance.Brightness, 1, id="brightness"),
        pytest.param(CONTRAST, ImageEnhance.Contrast, 1.6, id="contrast"),
        pytest.param(SATURATION, ImageEnhance.Color, 1.6, id="saturation"),
    ],
)
def test_blends_equal_those_of_pillow(kind, enhance, tolerance, factor):
    images = pictures()
    blended = photometric._blend(planes(images), tf.fill([4], kind), tf.fill([4], factor))
    expected = by_pillow(lambda image: enhance(image).enhance(factor), images)
    assert_within(pixels(blended), expected, tolerance)


def test_grey_equals_the_luma_of_pillow():
    images = pictures()
    expected = by_pillow(lambda image: image.convert("L"), images)[..., None]
    # Pillow uses fixed-point weights and rounds.
    assert_within(pixels(photometric.grey_of(planes(images))), expected, 0.51)


@pytest.mark.parametrize("turn", [-0.5, -0.1, 0.05, 0.1, 0.37, 1.0])
def test_turned_hue_equals_colorsys(turn):
    images = pictures(size=8)
    images[0, 0] = [[0, 0, 0], [255, 255, 255], [7, 7, 7], [255, 0, 0]] * 2
    images[0, 1] = [[9, 200, 200], [200, 9, 200], [200, 200, 9], [0, 0, 255]] * 2

    def turned_by_colorsys(pixel):
        hue, saturation, value = colorsys.rgb_to_hsv(*(pixel / 255))
        return 255 * np.array(colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value))

    expected = np.apply_along_axis(turned_by_colorsys, -1, images)
    # Float32 is compared with float64, on a scale of 255.
    turned = photometric.turn_hue(planes(images), tf.fill([4], turn))
    assert_within(pixels(turned), expected, 1e-3)


def test_hue_keeps_value_and_chroma():
    images = planes(pictures())
    turned = photometric.turn_hue(images, tf.constant([0.1, -0.2, 0.3, 0.45]))
    for reduce in (tf.reduce_max, tf.reduce_min):
        np.testing.assert_allclose(reduce(turned, 1), reduce(images, 1), atol=1e-3)


# Blur


def blurred_by_numpy(image, sigma, radius=30):
    """Direct convolution in float64 with a wide kernel; edge pixels are repeated outwards."""
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    kernel /= kernel.sum()
    for axis in (0, 1):
        padding = [(0, 0)] * 3
        padding[axis] = (radius, radius)
        padded = np.pad(image.astype(np.float64), padding, mode="edge")
        image = np.apply_along_axis(lambda line: np.convolve(line, kernel, "valid"), axis, padded)
    return image


@pytest.mark.parametrize("size", [224, 112, 32])
def test_blur_equals_a_convolution_in_numpy(size):
    images = pictures(3, size)
    largest = 2.0 * size / 224
    sigmas = np.array([0.1, 0.55, 1.0]) * largest
    blurred = photometric.gaussian_blur(planes(images), tf.constant(sigmas, tf.float32))
    for image, sigma, result in zip(images, sigmas, pixels(blurred), strict=True):
        # The tails beyond four sigmas are 6e-5 of the kernel, i.e. 0.02 levels, on both axes; float32 adds to this.
        assert_within(result, blurred_by_numpy(image, sigma), 0.05)


def test_blur_of_sigma_zero_is_the_identity():
    images = planes(pictures(2, 32))
    blurred = photometric.gaussian_blur(images, tf.constant([0.0, 0.2]))
    np.testing.assert_array_equal(blurred[0], images[0])
    assert np.any(blurred[1] != images[1])
    np.testing.assert_array_equal(photometric.gaussian_blur(images, tf.zeros([2])), images)


def test_blur_keeps_a_flat_image():
    flat = tf.fill([1, 3, 16, 16], 200.0)
    np.testing.assert_allclose(
        photometric.gaussian_blur(flat, tf.constant([0.14])), flat, rtol=1e-6
    )


@pytest.mark.parametrize("size", [224, 448])
@pytest.mark.parametrize(("view", "probability"), [(1, 1.0), (2, 0.1)])
def test_frequency_and_sigma_of_the_byol_blur(monkeypatch, view, probability, size):
    monkeypatch.setattr(photometric, "gaussian_blur", lambda images, sigma_px: sigma_px)
    images = tf.zeros([1, 3, size, size])
    policy = photometric.POLICIES["byol"][view]
    sigmas = np.asarray(photometric._random_blur(images, keys(MANY), policy, view))
    assert_share(sigmas > 0, probability)
    at_224 = sigmas[sigmas > 0] * 224 / size
    assert 0.1 - 1e-6 <= at_224.min() < 0.12 and 1.98 < at_224.max() < 2 + 1e-6
    # A uniform sigma has standard deviation 1.9 / sqrt(12); the bound is five standard errors.
    assert abs(at_224.mean() - 1.05) < 5 * 1.9 / math.sqrt(12 * len(at_224))


# Operations of RandAugment, compared with Pillow


def at(level):
    return tf.fill([4, 1, 1, 1], level)


# The highest level is 1: the factor is then 1.9, 4 bits are kept, nothing is solarised and 110 is added.
LEVELS = [1.0, 0.97, 0.8]


def assert_equals_pillow(operation, function, level, tolerance):
    images = pictures()
    expected = by_pillow(function, images)
    assert_within(pixels(operation(planes(images), at(level))), expected, tolerance)


def test_auto_contrast_equals_pillow():
    # Both truncate; a product in float32 may be just below an integer.
    assert_equals_pillow(photometric.auto_contrast, ImageOps.autocontrast, 1.0, 1)


def test_equalize_equals_pillow():
    assert_equals_pillow(photometric.equalize, ImageOps.equalize, 1.0, 0)


def test_invert_equals_pillow():
    assert_equals_pillow(photometric.invert, ImageOps.invert, 1.0, 0)


@pytest.mark.parametrize("level", LEVELS)
def test_posterize_equals_pillow(level):
    bits = int(4 * level)
    assert_equals_pillow(
        photometric.posterize, lambda image: ImageOps.posterize(image, bits), level, 0
    )


@pytest.mark.parametrize("level", LEVELS)
def test_solarize_equals_pillow(level):
    threshold = int(256 * level)
    assert_equals_pillow(
        photometric.solarize, lambda image: ImageOps.solarize(image, threshold), level, 0
    )


@pytest.mark.parametrize("level", LEVELS)
def test_solarize_add_equals_a_table_in_pillow(level):
    added = int(110 * level)
    table = [min(255, value + added) if value < 128 else value for value in range(256)] * 3
    assert_equals_pillow(photometric.solarize_add, lambda image: image.point(table), level, 0)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    ("operation", "enhance", "tolerance"),
    [
        # The tolerances are those of the jitter, with a factor of up to 1.9.
        (photometric.color, ImageEnhance.Color, 1.6),
        (photometric.contrast, ImageEnhance.Contrast, 1.6),
        (photometric.brightness, ImageEnhance.Brightness, 1),
        (photometric.sharpness, ImageEnhance.Sharpness, 1.1),
    ],
)
def test_enhancements_equal_pillow(operation, enhance, tolerance, level):
    factor = 1.8 * level + 0.1
    assert_equals_pillow(operation, lambda image: enhance(image).enhance(factor), level, tolerance)


@pytest.mark.parametrize("value", [0, 7, 255])
def test_auto_contrast_and_equalize_of_flat_images_equal_pillow(value):
    flat = np.full([4, 8, 8, 3], value, np.uint8)
    for operation, function in (
        (photometric.auto_contrast, ImageOps.autocontrast),
        (photometric.equalize, ImageOps.equalize),
    ):
        assert_within(pixels(operation(planes(flat), at(1.0))), by_pillow(function, flat), 0)


def test_equalize_has_a_separate_histogram_for_each_channel_of_each_image():
    images = pictures()
    together = photometric.equalize(planes(images), at(1.0))
    for index in range(4):
        alone = photometric.equalize(planes(images[index : index + 1]), at(1.0))
        np.testing.assert_array_equal(alone[0], together[index])


def test_the_pool_does_not_move_pixels():
    # A mirrored image has the mirrored result if the operation depends only on the values of pixels and their neighbours.
    images = planes(pictures())
    for name, operation in photometric.RAND_AUGMENT_POOL.items():
        result = operation(images, at(0.9))
        mirrored = operation(images[..., ::-1], at(0.9))[..., ::-1]
        np.testing.assert_allclose(result, mirrored, atol=1e-3, err_msg=name)


# Policies


def test_an_unknown_policy_is_rejected_by_name():
    with pytest.raises(ValueError, match=r"'colour'.*byol"):
        photometric.Photometric("colour")


@pytest.mark.parametrize("view", [1, 2])
def test_policy_none_only_normalises(view):
    images = pictures()
    result = photometric.Photometric("none")(tf.constant(images), keys(4), view)
    assert result.dtype == tf.float32
    np.testing.assert_allclose(result, (images / 255 - MEAN) / STD, atol=1e-5)


def test_denormalize_inverts_normalize():
    images = tf.constant(pictures() / 255, tf.float32)
    np.testing.assert_allclose(
        photometric.denormalize(photometric.normalize(images, RGB), RGB), images, atol=1e-6
    )


@pytest.mark.parametrize("view", [1, 2])
@pytest.mark.parametrize("policy", list(photometric.POLICIES))
def test_every_policy_runs_and_stays_within_the_levels(policy, view):
    images, key = tf.constant(pictures(8, 16)), keys(8, seed=1)
    result = photometric._augment.python_function(images, key, policy, view, *STATISTICS)
    assert result.shape == (8, 16, 16, 3) and result.dtype == tf.float32
    assert np.isfinite(result).all()
    # The tolerance is that of float32 on a scale of 255.
    assert np.min(levels_of(result)) > -1e-3 and np.max(levels_of(result)) < 255 + 1e-3
    assert policy == "none" or np.any(abs(levels_of(result) - images.numpy()) > 1)


@pytest.mark.parametrize(
    ("policy", "view"), [("byol", 2), pytest.param("rand_augment", 1, marks=pytest.mark.slow)]
)
def test_results_do_not_depend_on_compilation_or_batch_order(policy, view):
    images, key = tf.constant(pictures(8, 16)), keys(8, seed=1)
    augment = photometric.Photometric(policy)
    result = augment(images, key, view)
    uncompiled = photometric._augment.python_function(images, key, policy, view, *STATISTICS)
    reordered = augment(images[::-1], key[::-1], view)[::-1]
    for other in (uncompiled, reordered):
        difference = abs(np.asarray(result) - np.asarray(other))
        if policy == "rand_augment":
            # Rounding before an operation can occasionally turn the last bit of a float into a whole level.
            assert np.mean(difference > 1e-4) < 0.02
        else:
            # The order of float32 sums may differ.
            assert difference.max() < 1e-4


@pytest.mark.parametrize("policy", ["byol", "inst_disc"])
def test_an_image_is_augmented_alone_as_in_a_batch(policy):
    images, key = tf.constant(pictures(6, 16)), keys(6)
    augment = photometric._augment.python_function
    together = augment(images, key, policy, 1, *STATISTICS)
    for index in range(6):
        alone = augment(images[index : index + 1], key[index : index + 1], policy, 1, *STATISTICS)
        np.testing.assert_allclose(alone[0], together[index], atol=1e-4)


def test_policies_equal_those_of_the_papers():
    # Values from the papers of the policies: jitter, probability of the jitter, grey, blur, solarisation.
    expected = {
        "byol": [
            ((0.4, 0.4, 0.2, 0.1), 0.8, 0.2, 1.0, 0),
            ((0.4, 0.4, 0.2, 0.1), 0.8, 0.2, 0.1, 0.2),
        ],
        # Our own: the mean of byol's two views.
        "byol_symmetric": [((0.4, 0.4, 0.2, 0.1), 0.8, 0.2, 0.55, 0.1)] * 2,
        "moco_v2": [((0.4, 0.4, 0.4, 0.1), 0.8, 0.2, 0.5, 0)] * 2,
        "simclr": [((0.8, 0.8, 0.8, 0.2), 0.8, 0.2, 0.5, 0)] * 2,
        # Our own: the views have no colour.
        "simclr_grey": [((0.8, 0.8, 0.8, 0.2), 0.8, 1.0, 0.5, 0)] * 2,
        "inst_disc": [((0.4, 0.4, 0.4, 0.4), 1.0, 0.2, 0, 0)] * 2,
        "none": [((0, 0, 0, 0), 0, 0, 0, 0)] * 2,
        "rand_augment": [((0.8, 0.8, 0.8, 0.2), 0.8, 0.2, 0.5, 0)] * 2,
    }
    assert set(photometric.POLICIES) == set(expected)
    for name, views in expected.items():
        for view, values in zip((1, 2), views, strict=True):
            policy = photometric.POLICIES[name][view]
            found = (
                policy.jitter,
                policy.jitter_probability,
                policy.grey_probability,
                policy.blur_probability,
                policy.solarize_probability,
            )
            assert found == values, (name, view)
            assert policy.rand_augment == (name == "rand_augment")


def assert_share(happened, probability):
    # The bound is five standard deviations of a binomial share.
    bound = 5 * math.sqrt(probability * (1 - probability) / len(happened))
    assert abs(np.mean(happened) - probability) <= bound, np.mean(happened)


@pytest.fixture(scope="module")
def events():
    """Which of many equal images each operation of byol changed, by view: jitter, grey, solarisation."""
    key = keys(MANY, seed=9)
    colours = planes(np.broadcast_to([100.0, 50.0, 20.0], [MANY, 1, 1, 3]))
    light = tf.fill([MANY, 3, 1, 1], 200.0)
    found = {}
    for view in (1, 2):
        policy = photometric.POLICIES["byol"][view]

        def changed(function, images, policy=policy, view=view):
            result = function(images, key, policy, view)
            return np.any(np.asarray(result != images), axis=(1, 2, 3))

        found[view] = {
            "jitter": changed(photometric._jitter, colours),
            "grey": changed(photometric._random_grey, colours),
            "solarize": changed(photometric._random_solarize, light),
        }
    return found


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (1, {"jitter": 0.8, "grey": 0.2, "solarize": 0.0}),
        (2, {"jitter": 0.8, "grey": 0.2, "solarize": 0.2}),
    ],
)
def test_frequency_of_the_byol_operations(events, view, expected):
    for name, probability in expected.items():
        assert_share(events[view][name], probability)


def test_operations_and_views_are_independent(events):
    happened = [events[view][name] for view in (1, 2) for name in ("jitter", "grey")]
    happened += [events[2]["solarize"]]
    correlation = np.corrcoef(np.array(happened, float)) - np.eye(5)
    assert abs(correlation).max() < 5 / math.sqrt(MANY)


def test_views_of_an_image_have_different_augmentations():
    images, key = tf.constant(pictures(8, 16)), keys(8)
    augment = photometric._augment.python_function
    one, other = (augment(images, key, "moco_v2", view, *STATISTICS).numpy() for view in (1, 2))
    assert np.all(np.mean(abs(one - other), axis=(1, 2, 3)) > 1e-3)


def test_solarisation_inverts_from_128_up():
    ramp = np.arange(256, dtype=np.float32).reshape(1, 16, 16, 1) * np.ones([1, 1, 1, 3])
    policy = photometric.ViewPolicy(solarize_probability=1.0)
    result = pixels(photometric._random_solarize(planes(ramp), keys(1), policy, 1))
    expected = by_pillow(lambda image: ImageOps.solarize(image, 128), ramp.astype(np.uint8))
    assert_within(result, expected, 0)


def test_grey_replaces_all_channels_by_luma():
    images = pictures()
    result = photometric._random_grey(
        planes(images), keys(4), photometric.ViewPolicy(grey_probability=1.0), 0
    )
    expected = by_pillow(lambda image: image.convert("L").convert("RGB"), images)
    assert_within(pixels(result), expected, 0.51)


# The jitter


def test_factors_are_uniform_around_one():
    # Only brightness changes: 100 becomes 100 times the factor.
    policy = photometric.ViewPolicy((0.4, 0.0, 0.0, 0.0), 1.0)
    images = tf.fill([MANY, 3, 1, 1], 100.0)
    factors = np.asarray(photometric._jitter(images, keys(MANY), policy, 1))[:, 0, 0, 0] / 100
    assert 0.6 - 1e-5 <= factors.min() < 0.61 and 1.39 < factors.max() <= 1.4 + 1e-5
    counts, _ = np.histogram(factors, bins=10, range=(0.6, 1.4))
    mean = MANY / 10
    # Chi-square with 9 degrees of freedom exceeds 45 once in a million.
    assert ((counts - mean) ** 2 / mean).sum() < 45


def test_hue_turns_are_uniform_around_zero():
    policy = photometric.ViewPolicy((0.0, 0.0, 0.0, 0.1), 1.0)
    orange = planes(np.broadcast_to([200.0, 150.0, 100.0], [MANY, 1, 1, 3]))
    turned = np.asarray(photometric._jitter(orange, keys(MANY), policy, 1))[:, :, 0, 0] / 255
    turns = np.array([colorsys.rgb_to_hsv(*pixel)[0] for pixel in turned]) - 1 / 12
    turns = (turns + 0.5) % 1 - 0.5
    assert -0.1 - 1e-4 <= turns.min() < -0.098 and 0.098 < turns.max() <= 0.1 + 1e-4
    # The bound is five standard deviations of the mean of uniform numbers.
    assert abs(turns.mean()) < 5 * 0.2 / math.sqrt(12 * MANY)


def jittered_by_numpy(image, order, factors, turn):
    """Applies brightness, contrast, saturation and hue to one image in the given order, in float64."""
    image = image.astype(np.float64)
    for kind in order:
        grey = (image @ [0.299, 0.587, 0.114])[..., None]
        if kind == 3:
            hsv = [colorsys.rgb_to_hsv(*pixel) for pixel in image.reshape(-1, 3) / 255]
            pixels = [colorsys.hsv_to_rgb((h + turn) % 1, s, v) for h, s, v in hsv]
            image = 255 * np.reshape(pixels, image.shape)
        else:
            other = (0.0, grey.mean(), grey)[kind]
            image = np.clip(factors[kind] * image + (1 - factors[kind]) * other, 0, 255)
    return image


def test_the_jitter_equals_a_numpy_implementation_in_some_order():
    count = 60
    policy = photometric.ViewPolicy((0.8, 0.8, 0.8, 0.2), 1.0)
    # The colours are light, so that clipping makes the orders differ.
    image = np.array([[[250, 120, 30], [20, 230, 210]], [[90, 60, 240], [250, 250, 180]]])
    images = planes(np.broadcast_to(image, [count, 2, 2, 3]))
    key = keys(count)
    result = pixels(photometric._jitter(images, key, policy, 1))
    # The first four draws of the jitter's stream are brightness, contrast, saturation and hue.
    span = 2 * randomness.uniform(key, randomness.Stream.JITTER, 1, 4).numpy() - 1
    factors, turns = 1 + 0.8 * span[:, :3], 0.2 * span[:, 3]
    orders = list(itertools.permutations(range(4)))
    for index in range(count):
        candidates = np.array(
            [jittered_by_numpy(image, order, factors[index], turns[index]) for order in orders]
        )
        # Float32 and float64 differ by up to 0.01 levels.
        assert abs(candidates - result[index]).max(axis=(1, 2, 3)).min() < 0.01, index


def test_the_jitter_uses_each_of_the_24_orders_equally_often(monkeypatch):
    def append(images, digit):
        return 10 * images + tf.cast(digit, tf.float32)[:, None, None, None]

    def blend(images, kind, factor):
        # A factor of 1 leaves the image unchanged.
        return tf.where(factor[:, None, None, None] == 1, images, append(images, kind + 1))

    def turn_hue(images, turn):
        return tf.where(turn[:, None, None, None] == 0, images, append(images, tf.fill([MANY], 4)))

    monkeypatch.setattr(photometric, "_blend", blend)
    monkeypatch.setattr(photometric, "turn_hue", turn_hue)
    policy = photometric.ViewPolicy((0.4, 0.4, 0.4, 0.1), 1.0)
    digits = photometric._jitter(tf.zeros([MANY, 3, 1, 1]), keys(MANY), policy, 1)
    found, counts = np.unique(np.asarray(digits)[:, 0, 0, 0], return_counts=True)
    assert list(found) == sorted(int("".join(order)) for order in itertools.permutations("1234"))
    # Chi-square with 23 degrees of freedom exceeds 71 once in a million.
    assert ((counts - MANY / 24) ** 2 / (MANY / 24)).sum() < 71


# RandAugment


def test_each_operation_of_randaugment_is_equally_frequent(monkeypatch):
    count = 4000
    names = list(photometric.RAND_AUGMENT_POOL)
    counting = {
        name: lambda images, level, index=index: images + index + 1.0
        for index, name in enumerate(names)
    }
    monkeypatch.setattr(photometric, "RAND_AUGMENT_POOL", counting)
    monkeypatch.setattr(photometric, "RAND_AUGMENT_LAYERS", 1)
    result = np.asarray(photometric._rand_augment(tf.zeros([count, 3, 1, 1]), keys(count), 1))
    chosen = result[:, 0, 0, 0]
    assert_share(chosen == 0, 0.5)
    for index in range(len(names)):
        assert_share(chosen == index + 1, 0.5 / len(names))


def test_magnitudes_of_randaugment_are_normal_around_ten_and_at_most_ten(monkeypatch):
    count = 4000
    monkeypatch.setattr(
        photometric, "RAND_AUGMENT_POOL", {"level": lambda images, level: level + 0 * images}
    )
    monkeypatch.setattr(photometric, "RAND_AUGMENT_LAYERS", 1)
    result = np.asarray(photometric._rand_augment(tf.fill([count, 3, 1, 1], -1.0), keys(count), 1))
    level = result[:, 0, 0, 0]
    level = 10 * level[level >= 0]
    assert_share(level == 10, 0.5)
    # The lower half of a normal distribution with standard deviation 0.5 has a root mean square of 0.5.
    below = level[level < 10] - 10
    assert abs(np.sqrt((below**2).mean()) - 0.5) < 5 * 0.5 / math.sqrt(2 * len(below))
