"""Consistency losses against NumPy in float64, values and gradients."""

import numpy as np
import pytest
import tensorflow as tf

from pixpro_tf import losses


def unit_vectors(rng, *shape):
    vectors = rng.standard_normal(shape)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def pixel_inputs(images=3, bins=6, other_bins=5, channels=4, seed=0):
    rng = np.random.default_rng(seed)
    positives = rng.uniform(size=(images, bins, other_bins)) < 0.3
    return (
        unit_vectors(rng, images, bins, channels),
        unit_vectors(rng, images, other_bins, channels),
        positives,
    )


def pixel_consistency_by_loop(propagated, target, positives):
    means = []
    for y, x, mask in zip(propagated, target, positives, strict=True):
        pairs = list(zip(*np.nonzero(mask), strict=True))
        means.append(sum(y[i] @ x[j] for i, j in pairs) / (len(pairs) + 1e-6))
    return np.array(means)


@pytest.mark.parametrize("images", [1, 3])
def test_pixel_consistency_is_the_mean_cosine_of_positive_pairs(images):
    inputs = pixel_inputs(images)
    value = losses.pixel_consistency(*map(tf.constant, inputs))
    assert value.shape == (images,) and value.dtype == tf.float64
    np.testing.assert_allclose(value, pixel_consistency_by_loop(*inputs), rtol=1e-12)


def test_pixel_consistency_in_float32():
    propagated, target, positives = pixel_inputs()
    value = losses.pixel_consistency(
        tf.constant(propagated, tf.float32), tf.constant(target, tf.float32), tf.constant(positives)
    )
    assert value.dtype == tf.float32
    expected = pixel_consistency_by_loop(propagated, target, positives)
    np.testing.assert_allclose(value, expected, rtol=0, atol=1e-6)


def test_the_gradient_of_pixel_consistency_is_that_of_finite_differences():
    propagated, target, positives = pixel_inputs(images=2)
    variable = tf.constant(propagated)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        value = losses.pixel_consistency(variable, tf.constant(target), tf.constant(positives))
        total = tf.reduce_sum(value)
    gradient = tape.gradient(total, variable).numpy()
    step = 1e-5
    for index in np.ndindex(*propagated.shape):
        up, down = propagated.copy(), propagated.copy()
        up[index] += step
        down[index] -= step
        difference = pixel_consistency_by_loop(up, target, positives).sum()
        difference -= pixel_consistency_by_loop(down, target, positives).sum()
        np.testing.assert_allclose(gradient[index], difference / (2 * step), rtol=0, atol=1e-9)


def test_an_image_without_overlap_counts_zero_and_gives_no_gradient():
    propagated, target, positives = pixel_inputs()
    positives[1] = False
    variable = tf.constant(propagated)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        value = losses.pixel_consistency(variable, tf.constant(target), tf.constant(positives))
    gradient = tape.gradient(value, variable).numpy()
    assert value[1] == 0 and value[0] != 0 and value[2] != 0
    assert not gradient[1].any() and gradient[0].any() and gradient[2].any()


def test_equal_features_agree_fully():
    features, _, _ = pixel_inputs()
    positives = np.broadcast_to(np.eye(6, dtype=bool), (3, 6, 6))
    value = losses.pixel_consistency(tf.constant(features), tf.constant(features), positives)
    # The mask's epsilon of 1e-6 takes 6 / (6 + 1e-6) away.
    np.testing.assert_allclose(value, [6 / (6 + 1e-6)] * 3, rtol=1e-12)


def test_permuting_the_images_permutes_the_losses():
    inputs = pixel_inputs()
    value = losses.pixel_consistency(*map(tf.constant, inputs)).numpy()
    permuted = losses.pixel_consistency(*(tf.constant(each[[2, 0, 1]]) for each in inputs))
    np.testing.assert_allclose(permuted, value[[2, 0, 1]], rtol=1e-12)


@pytest.mark.parametrize("wrong", ["bins", "other_bins", "channels"])
def test_shapes_that_do_not_fit_are_refused(wrong):
    _, target, positives = pixel_inputs()
    if wrong == "channels":
        target = target[..., :3]
    elif wrong == "bins":
        positives = positives[:, :5]
    else:
        positives = positives[:, :, :4]
    with pytest.raises(ValueError, match="do not fit together"):
        losses.pixel_consistency(
            tf.constant(pixel_inputs()[0]), tf.constant(target), tf.constant(positives)
        )


def test_instance_consistency_is_a_cosine():
    rng = np.random.default_rng(1)
    prediction, target = unit_vectors(rng, 5, 7), unit_vectors(rng, 5, 7)
    value = losses.instance_consistency(tf.constant(prediction), tf.constant(target))
    np.testing.assert_allclose(value, np.diag(prediction @ target.T), rtol=1e-12)


def test_the_gradient_of_instance_consistency_is_the_target():
    rng = np.random.default_rng(2)
    prediction = tf.constant(unit_vectors(rng, 1, 7))
    target = unit_vectors(rng, 1, 7)
    with tf.GradientTape() as tape:
        tape.watch(prediction)
        value = losses.instance_consistency(prediction, tf.constant(target))
    np.testing.assert_allclose(tape.gradient(value, prediction), target, rtol=1e-15)


def test_targets_receive_no_gradient():
    propagated, target, positives = map(tf.constant, pixel_inputs())
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([propagated, target])
        pixel = losses.pixel_consistency(propagated, target, positives)
        instance = losses.instance_consistency(propagated[:, 0], target[:, 0])
    for value in (pixel, instance):
        assert tape.gradient(value, target) is None
        assert tape.gradient(value, propagated) is not None


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    propagated, target, positives = pixel_inputs()
    low = tf.cast(propagated, dtype), tf.cast(target, dtype)
    rounded = [tf.cast(each, tf.float64).numpy() for each in low]
    pixel = losses.pixel_consistency(*low, tf.constant(positives))
    instance = losses.instance_consistency(low[0][:, 0], low[1][:, 0])
    assert pixel.dtype == instance.dtype == tf.float32
    expected = pixel_consistency_by_loop(*rounded, positives)
    np.testing.assert_allclose(pixel, expected, rtol=0, atol=1e-6)
    expected = np.einsum("bc,bc->b", rounded[0][:, 0], rounded[1][:, 0])
    np.testing.assert_allclose(instance, expected, rtol=0, atol=1e-6)
