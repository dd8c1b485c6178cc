"""Metrics of collapse and shortcuts, at their extremes and compared with NumPy in float64."""

import numpy as np
import pytest
import tensorflow as tf

from pixpro_tf.objectives import collapse

FIGURES = (
    collapse.feature_spread,
    collapse.cross_image_cosine,
    collapse.position_share,
)


def noise(images, bins, channels, seed=0, mean=0.0):
    return np.random.default_rng(seed).standard_normal((images, bins, channels)) + mean


def unit(features):
    return features / np.linalg.norm(features, axis=-1, keepdims=True)


def mean_cosine_between_images_by_loop(features):
    cosines = [
        first @ second
        for i, image in enumerate(unit(features))
        for j, other in enumerate(unit(features))
        if i != j
        for first in image
        for second in other
    ]
    return np.mean(cosines)


def epsilon_squared(features):
    """Epsilon squared of a one-way analysis of variance: N positions are the groups, each with B images."""
    features = unit(features)
    images, bins, _ = features.shape
    within = ((features - features.mean(axis=0)) ** 2).sum()
    total = ((features - features.mean(axis=(0, 1))) ** 2).sum()
    return 1 - (within / (images * bins - bins)) / (total / (images * bins - 1))


def test_feature_spread_is_root_of_summed_variances():
    features = noise(4, 5, 6, mean=0.5)
    expected = np.sqrt(unit(features).var(axis=(0, 1)).sum())
    np.testing.assert_allclose(collapse.feature_spread(tf.constant(features)), expected, rtol=1e-12)


def test_feature_spread_is_zero_for_constant_and_one_for_opposite_features():
    constant = tf.ones([3, 4, 5])
    np.testing.assert_allclose(collapse.feature_spread(constant), 0, atol=1e-6)
    opposite = tf.concat([constant, -constant], axis=0)
    np.testing.assert_allclose(collapse.feature_spread(opposite), 1, rtol=1e-6)


def test_feature_spread_does_not_depend_on_length_of_features():
    features = tf.constant(noise(4, 5, 6))
    np.testing.assert_allclose(
        collapse.feature_spread(7 * features), collapse.feature_spread(features), rtol=1e-12
    )


def test_cross_image_cosine_matches_loop():
    features = noise(4, 5, 6, mean=0.5)
    np.testing.assert_allclose(
        collapse.cross_image_cosine(tf.constant(features)),
        mean_cosine_between_images_by_loop(features),
        rtol=1e-12,
    )


def test_cross_image_cosine_is_one_after_collapse():
    np.testing.assert_allclose(collapse.cross_image_cosine(tf.ones([3, 4, 5])), 1, rtol=1e-6)


def test_cross_image_cosine_is_minus_one_for_opposite_images():
    image = tf.ones([1, 4, 5])
    opposites = tf.concat([image, -image], axis=0)
    np.testing.assert_allclose(collapse.cross_image_cosine(opposites), -1, rtol=1e-6)


@pytest.mark.parametrize(
    "figure", [collapse.cross_image_cosine, collapse.position_share], ids=lambda f: f.__name__
)
def test_single_image_gives_zero(figure):
    assert figure(tf.constant(noise(1, 5, 6))) == 0


def test_position_share_is_epsilon_squared_of_analysis_of_variance():
    features = noise(6, 5, 4) + noise(1, 5, 4, seed=1)
    np.testing.assert_allclose(
        collapse.position_share(tf.constant(features)), epsilon_squared(features), rtol=1e-10
    )


@pytest.mark.parametrize(("dtype", "tolerance"), [(tf.float32, 1e-6), (tf.float64, 1e-12)])
def test_position_share_is_one_if_position_explains_everything(dtype, tolerance):
    features = tf.constant(np.repeat(noise(1, 9, 6), 4, axis=0), dtype)
    np.testing.assert_allclose(collapse.position_share(features), 1, rtol=0, atol=tolerance)


def test_position_share_is_around_zero_if_position_explains_nothing():
    shares = [
        float(collapse.position_share(tf.constant(noise(4, 9, 6, seed)))) for seed in range(30)
    ]
    # The standard deviation of one share is about 0.03, and that of the mean of 30 is a fifth of it.
    assert abs(np.mean(shares)) < 0.03
    assert min(shares) < 0 < max(shares)


def test_position_share_is_not_positive_if_images_explain_everything():
    features = np.repeat(noise(4, 1, 6), 9, axis=1)
    assert collapse.position_share(tf.constant(features)) <= 0


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
@pytest.mark.parametrize("seed", range(4))
def test_position_share_is_zero_after_collapse(seed, dtype):
    constant = np.tile(noise(1, 1, 256, seed), (8, 49, 1))
    assert collapse.position_share(tf.constant(constant, dtype)) == 0
    assert collapse.position_share(tf.zeros([4, 9, 6], dtype)) == 0


@pytest.mark.parametrize("figure", FIGURES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_half_precision_is_computed_in_float32(figure, dtype):
    features = tf.cast(noise(4, 9, 6, mean=0.3), dtype)
    value = figure(features)
    assert value.dtype == tf.float32
    np.testing.assert_allclose(value, figure(tf.cast(features, tf.float64)), rtol=0, atol=1e-5)
