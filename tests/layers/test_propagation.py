"""Pixel propagation module compared with NumPy in float64, compiled and not, for all numbers of layers and gammas."""

import numpy as np
import pytest
import tensorflow as tf

from pixpro_tf.layers import propagation
from pixpro_tf.layers.propagation import PixelPropagation
from pixpro_tf.ops import pairwise
from tests.layers.test_heads import reference as head_reference

GAMMAS = (0.5, 1.0, 1.5, 2.0, 4.0)


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def unit(vectors):
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def propagate_by_loop(features, values, gamma):
    features, values = unit(features), unit(values)
    result = np.zeros_like(values)
    for image in range(len(features)):
        for i, query in enumerate(features[image]):
            for key, value in zip(features[image], values[image], strict=True):
                similarity = max(query @ key, 0.0)
                if gamma < 1:
                    similarity += 1e-6
                result[image, i] += similarity**gamma * value
    return result


def layer_reference(layer, features, gamma, training):
    values = features
    if layer.value_transform is not None:
        values = head_reference(layer.value_transform, features, training)
    flat = [len(features), -1, features.shape[-1]]
    return propagate_by_loop(features.reshape(flat), values.reshape(flat), gamma).reshape(
        features.shape
    )


def value_and_gradients(function, features, values, gamma):
    features, values = tf.constant(features), tf.constant(values)
    with tf.GradientTape() as tape:
        tape.watch([features, values])
        result = function(features, values, gamma)
        objective = tf.reduce_sum(tf.square(result))
    return result, *tape.gradient(objective, [features, values])


@pytest.mark.parametrize("gamma", GAMMAS)
def test_propagation_matches_loop(gamma):
    features, values = random(2, 6, 4), random(2, 6, 4, seed=1)
    result = propagation.propagate(tf.constant(features), tf.constant(values), gamma)
    expected = propagate_by_loop(features, values, gamma)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_gradient_matches_finite_differences(gamma):
    features, values = random(1, 4, 3), random(1, 4, 3, seed=1)
    _, of_features, of_values = value_and_gradients(propagation.propagate, features, values, gamma)
    step = 1e-6
    for array, gradient in ((features, of_features), (values, of_values)):
        for index in np.ndindex(*array.shape):
            original = array[index]
            ends = []
            for sign in (1, -1):
                array[index] = original + sign * step
                ends.append((propagate_by_loop(features, values, gamma) ** 2).sum())
            array[index] = original
            difference = (ends[0] - ends[1]) / (2 * step)
            np.testing.assert_allclose(gradient[index], difference, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_compiled_equals_uncompiled(gamma):
    features, values = random(2, 6, 4), random(2, 6, 4, seed=1)
    plain = value_and_gradients(propagation.propagate, features, values, gamma)
    compiled = value_and_gradients(propagation._propagate_compiled, features, values, gamma)
    for expected, result in zip(plain, compiled, strict=True):
        np.testing.assert_allclose(result, expected, rtol=0, atol=1e-10)


def by_blocks(features, values, gamma):
    return propagation.propagate(features, values, gamma, by_blocks=True)


@pytest.mark.slow
@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("gamma", [0.0, *GAMMAS])
def test_propagation_by_blocks_matches_loop_and_dense_gradient(gamma, jit_compile, monkeypatch):
    # The three blocks have three, three and one row; the last one is padded.
    monkeypatch.setattr(pairwise, "BLOCK_BINS", 3)
    features, values = random(2, 7, 4), random(2, 7, 4, seed=1)
    features[0, 2], values[1, 3] = 0, 0
    dense = value_and_gradients(propagation.propagate, features, values, gamma)
    function = tf.function(by_blocks, jit_compile=jit_compile)
    result = value_and_gradients(function, features, values, gamma)
    np.testing.assert_allclose(
        result[0], propagate_by_loop(features, values, gamma), rtol=0, atol=1e-12
    )
    for expected, found in zip(dense, result, strict=True):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * scale)


@pytest.mark.slow
@pytest.mark.parametrize(("height", "width"), [(7, 7), (14, 10), (28, 28), (57, 31)])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_propagation_by_blocks_matches_dense_form_in_float32(
    height, width, jit_compile, monkeypatch
):
    # The smallest map has at least two blocks, and some blocks are padded.
    monkeypatch.setattr(pairwise, "BLOCK_BINS", max(30, height * width // 5))
    features, values = (
        random(2, height * width, 32, seed=seed).astype(np.float32) for seed in (0, 1)
    )
    dense = value_and_gradients(propagation.propagate, features, values, 2.0)
    function = tf.function(by_blocks, jit_compile=jit_compile)
    for expected, found in zip(
        dense, value_and_gradients(function, features, values, 2.0), strict=True
    ):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * scale)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_layer_propagates_large_maps_by_blocks(jit_compile, precision, monkeypatch):
    tf.keras.mixed_precision.set_global_policy(precision)
    layer = PixelPropagation(1, 2.0, jit_compile)
    features = tf.cast(random(1, 40, 30, 8), layer.compute_dtype)
    layer(features)

    def run():
        with tf.GradientTape() as tape:
            tape.watch(features)
            result = layer(features, training=True)
            objective = tf.reduce_sum(result)
        return result, *tape.gradient(objective, [features, *layer.trainable_variables])

    by_blocks = run()
    monkeypatch.setattr(propagation, "is_large", lambda num_bins: False)
    for found, expected in zip(by_blocks, run(), strict=True):
        assert found.dtype == expected.dtype
        found, expected = (tf.cast(each, tf.float64).numpy() for each in (found, expected))
        # Values that are rounded to half precision may differ in their last bit.
        tolerance = 1e-5 if precision == "float32" else 1e-2
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("num_bins", [784, 1800])
def test_only_pairs_of_small_maps_are_kept(num_bins):
    features = tf.constant(random(1, num_bins, 4), tf.float32)
    program = tf.function(
        lambda features: PixelPropagation(0)(features[:, None])
    ).get_concrete_function(features)
    library = program.graph.as_graph_def().library.function
    assert any("while" in node.op.lower() for each in library for node in each.node_def) == (
        num_bins > 1024
    )


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("num_layers", [0, 1, 2, 3])
def test_layer_transforms_values_but_not_features(num_layers, jit_compile, training):
    tf.keras.mixed_precision.set_global_policy("float64")
    layer = PixelPropagation(num_layers, 2.0, jit_compile)
    features = random(2, 2, 3, 4)
    layer(features)
    expected = layer_reference(layer, features, 2.0, training)
    result = layer(features, training=training)
    assert result.dtype == tf.float64 and result.shape == (2, 2, 3, 4)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("num_layers", [0, 1, 2, 3])
def test_transform_has_requested_number_of_layers(num_layers):
    layer = PixelPropagation(num_layers)
    layer.build([None, 7, 7, 256])
    layer(tf.keras.Input([7, 7, 256]))
    # A 1x1 convolution 256 -> 256 with bias has 65,792 parameters, a BN between two of them 512.
    expected = num_layers * 65_792 + max(num_layers - 1, 0) * 512
    assert sum(variable.shape.num_elements() for variable in layer.trainable_variables) == expected


def test_equal_bins_add_up_including_themselves():
    direction = np.array([3.0, 4.0])
    features = np.tile(direction, (1, 5, 1))
    result = propagation.propagate(tf.constant(features), tf.constant(features), 2.0)
    np.testing.assert_allclose(result, np.tile(5 * direction / 5, (1, 5, 1)), rtol=1e-12)


def test_opposite_bins_do_not_mix():
    features = np.array([[[1.0, 0.0], [-1.0, 0.0]]])
    values = np.array([[[1.0, 0.0], [0.0, 1.0]]])
    result = propagation.propagate(tf.constant(features), tf.constant(values), 2.0)
    np.testing.assert_allclose(result, values, rtol=0, atol=1e-15)


def test_permuting_bins_permutes_output():
    layer, features = PixelPropagation(1), random(2, 2, 3, 8).astype(np.float32)
    order = np.random.default_rng(5).permutation(6)
    permuted = features.reshape(2, 6, 8)[:, order].reshape(2, 2, 3, 8)
    result = layer(features).numpy().reshape(2, 6, 8)
    np.testing.assert_allclose(
        layer(permuted).numpy().reshape(2, 6, 8), result[:, order], rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("factor", [1e3, 1e-9])
def test_length_of_features_does_not_matter_without_transform(factor):
    layer, features = PixelPropagation(0), random(2, 2, 3, 8).astype(np.float32)
    scaled = np.float32(factor) * features
    np.testing.assert_allclose(layer(scaled), layer(features), rtol=0, atol=1e-5)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("gamma", [0.0, *GAMMAS])
def test_gradients_are_finite_for_zero_opposite_and_orthogonal_features(gamma, jit_compile):
    features = np.zeros([1, 2, 3, 4], np.float32)
    features[0, 0] = [[1, 0, 0, 0], [-1, 0, 0, 0], [0, 1, 0, 0]]
    features[0, 1, 0] = [1e-20, 0, 0, 0]
    layer = PixelPropagation(1, gamma, jit_compile)
    variable = tf.constant(features)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        result = layer(variable)
        objective = tf.reduce_sum(tf.square(result))
    gradients = tape.gradient(objective, [variable, *layer.trainable_variables])
    for tensor in (result, *gradients):
        assert np.all(np.isfinite(tensor))


def test_layer_is_compiled_with_xla_on_request():
    for jit_compile in (True, False):
        layer = PixelPropagation(1, 2.0, jit_compile)
        function = tf.function(lambda features, layer=layer: layer(features))
        concrete = function.get_concrete_function(tf.TensorSpec([2, 3, 3, 8]))
        library = concrete.graph.as_graph_def().library.function
        assert any(each.attr["_XlaMustCompile"].b for each in library) == jit_compile


def test_compiled_program_uses_matrix_products():
    features = tf.constant(random(2, 9, 8), tf.float32)
    compiler_ir = propagation._propagate_compiled.experimental_get_compiler_ir(
        features, features, 2.0, False
    )
    program = compiler_ir(stage="hlo")
    assert "HloModule" in program
    assert program.count(" dot(") == 2


@pytest.mark.parametrize("jit_compile", [False, True])
def test_unknown_height_and_width(jit_compile):
    layer = PixelPropagation(1, 2.0, jit_compile)
    layer(tf.keras.Input([None, None, 8]))
    function = tf.function(layer.__call__, input_signature=[tf.TensorSpec([None, None, None, 8])])
    for height, width in ((2, 3), (4, 1)):
        features = random(2, height, width, 8).astype(np.float32)
        expected = layer_reference(layer, features, 2.0, training=False)
        np.testing.assert_allclose(function(features), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("policy", "tolerance"), [("bfloat16", 0.02), ("float16", 0.003)])
@pytest.mark.parametrize("num_layers", [0, 1, 2])
def test_mixed_precision_propagates_in_float32(policy, tolerance, num_layers):
    tf.keras.mixed_precision.set_global_policy(f"mixed_{policy}")
    layer = PixelPropagation(num_layers)
    features = tf.cast(random(2, 2, 3, 8), policy)
    layer(features)
    exact = tf.cast(features, tf.float64).numpy()
    expected = layer_reference(layer, exact, 2.0, training=True)
    result = layer(features, training=True)
    assert result.dtype == tf.float32
    assert all(variable.dtype == tf.float32 for variable in layer.variables)
    # Only the transform runs in half precision; without it, only the rounding of float32 remains.
    tolerance = tolerance * np.abs(expected).max() if num_layers else 1e-5
    np.testing.assert_allclose(result, expected, rtol=0, atol=tolerance)


def test_without_mixing_each_bin_becomes_its_own_transform():
    layer = PixelPropagation(1, mixes=False)
    features = tf.constant(np.random.default_rng(0).normal(size=(2, 3, 4, 8)), tf.float32)
    found = layer(features)
    kernel, bias = layer.trainable_variables
    expected = features.numpy() @ kernel.numpy()[0, 0] + bias.numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert layer(tf.cast(features, tf.bfloat16)).dtype == tf.float32


def test_config_round_trip():
    layer = PixelPropagation(3, 1.5, False, False, name="propagation", dtype="mixed_bfloat16")
    copy = PixelPropagation.from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
    assert (copy.num_layers, copy.gamma, copy.jit_compile, copy.mixes) == (3, 1.5, False, False)
    assert copy.name == "propagation"


def test_dtype_argument_applies_to_transform():
    layer = PixelPropagation(1, dtype="mixed_bfloat16")
    layer(tf.keras.Input([2, 3, 8]))
    assert layer.value_transform.compute_dtype == "bfloat16"


@pytest.mark.parametrize("arguments", [{"num_layers": -1}, {"gamma": -0.5}])
def test_values_out_of_range_are_rejected(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        PixelPropagation(**arguments)
