"""Convolution layer compared with explicit padding, explicit dilation and one convolution per group."""

import numpy as np
import pytest
import tensorflow as tf

from pixpro_tf.layers.convolution import Convolution


def images(*shape, seed=0):
    return tf.constant(np.random.default_rng(seed).standard_normal(shape), tf.float32)


def convolve_by_loop(inputs, kernel, strides):
    """Convolves without padding, in NumPy."""
    inputs, kernel = np.asarray(inputs, np.float64), np.asarray(kernel, np.float64)
    size = kernel.shape[0]
    height, width = ((n - size) // strides + 1 for n in inputs.shape[1:3])
    outputs = np.zeros((len(inputs), height, width, kernel.shape[3]))
    for row in range(height):
        for column in range(width):
            top, left = row * strides, column * strides
            window = inputs[:, top : top + size, left : left + size]
            outputs[:, row, column] = np.einsum("bhwc,hwco->bo", window, kernel)
    return outputs


def spread(kernel, dilation):
    """Inserts zeros between the values of the kernel, which is the definition of dilation."""
    size = dilation * (kernel.shape[0] - 1) + 1
    shape = (size, size, *kernel.shape[2:])
    positions = [
        [row, column] for row in range(0, size, dilation) for column in range(0, size, dilation)
    ]
    return tf.scatter_nd(positions, tf.reshape(kernel, [-1, *kernel.shape[2:]]), shape)


def explicit(inputs, kernel, strides, dilation, groups, padding):
    """Computes one plain convolution without padding for every group of channels, on padded images."""
    padded = tf.pad(inputs, [[0, 0], [padding, padding], [padding, padding], [0, 0]])
    outputs = [
        tf.nn.conv2d(part, spread(part_kernel, dilation), strides, "VALID")
        for part, part_kernel in zip(
            tf.split(padded, groups, axis=3), tf.split(kernel, groups, axis=3), strict=True
        )
    ]
    return tf.concat(outputs, axis=3)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 7), (9, 6)])
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("size", [1, 3, 7])
def test_symmetric_padding_matches_pytorch(size, strides, height, width):
    layer, inputs = Convolution(4, size, strides), images(2, height, width, 3)
    outputs = layer(inputs)
    assert outputs.shape == (2, -(-height // strides), -(-width // strides), 4)
    pad = size // 2
    padded = np.pad(inputs, [(0, 0), (pad, pad), (pad, pad), (0, 0)])
    expected = convolve_by_loop(padded, layer.kernel, strides)
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 7), (9, 6)])
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("size", [1, 3, 7])
def test_asymmetric_padding_matches_tensorflow_same(size, strides, height, width):
    layer, inputs = Convolution(4, size, strides, symmetric=False), images(2, height, width, 3)
    outputs = layer(inputs)
    pads = []
    for n in (height, width):
        total = max((-(-n // strides) - 1) * strides + size - n, 0)
        pads.append((total // 2, total - total // 2))
    padded = np.pad(inputs, [(0, 0), *pads, (0, 0)])
    expected = convolve_by_loop(padded, layer.kernel, strides)
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-5)


def test_paddings_differ_for_strided_convolution_of_even_size():
    inputs = images(1, 8, 8, 3)
    symmetric, same = Convolution(4, 3, 2), Convolution(4, 3, 2, symmetric=False)
    for layer in (symmetric, same):
        layer.build(inputs.shape)
    same.set_weights(symmetric.get_weights())
    assert np.abs(symmetric(inputs) - same(inputs)).max() > 0.1
    odd = inputs[:, :7, :7]
    np.testing.assert_allclose(symmetric(odd), same(odd), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("strides", "dilation", "groups"),
    [(1, 1, 4), (2, 1, 4), (1, 2, 1), (1, 4, 1), (1, 2, 4)],
)
@pytest.mark.parametrize("in_graph", [False, True])
def test_groups_and_dilation_match_plain_convolutions(strides, dilation, groups, in_graph):
    layer, inputs = Convolution(12, 3, strides, dilation, groups), images(2, 9, 8, 8)
    layer(inputs)
    expected_shape = (3, 3, 8 // groups, 12)
    assert tuple(layer.kernel.shape) == expected_shape

    def value_and_gradients(function):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = function()
            objective = tf.reduce_sum(tf.square(outputs))
        return outputs, *tape.gradient(objective, [inputs, layer.kernel])

    def run():
        return value_and_gradients(lambda: layer(inputs))

    results = tf.function(run)() if in_graph else run()
    expected = value_and_gradients(
        lambda: explicit(
            inputs, tf.convert_to_tensor(layer.kernel), strides, dilation, groups, dilation
        )
    )
    for result, value in zip(results, expected, strict=True):
        scale = np.abs(value).max()
        np.testing.assert_allclose(result, value, rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("arguments", [{}, {"dilation": 2}, {"groups": 2}])
def test_unknown_batch_height_and_width(arguments):
    layer, inputs = Convolution(4, 3, **arguments), images(2, 7, 6, 4)
    layer(tf.keras.Input([None, None, 4]))
    function = tf.function(layer.__call__, input_signature=[tf.TensorSpec([None, None, None, 4])])
    np.testing.assert_allclose(function(inputs), layer(inputs), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("size", "groups"), [(3, 1), (1, 1), (3, 8)])
def test_kernels_have_he_normal_initialisation_by_fan_out(size, groups):
    layer = Convolution(128, size, groups=groups)
    layer.build([None, 8, 8, 64])
    kernel = layer.kernel.numpy()
    expected = np.sqrt(2 / (size * size * 128))
    # The tolerance is five standard errors of an estimated standard deviation.
    np.testing.assert_allclose(kernel.std(), expected, rtol=5 / np.sqrt(2 * kernel.size))
    assert abs(kernel.mean()) < 5 * expected / np.sqrt(kernel.size)
    # A truncated normal distribution, Keras' default, ends at 2.3 standard deviations.
    assert np.abs(kernel).max() > 3 * expected


def test_no_bias_by_default():
    layer = Convolution(4, 3)
    layer.build([None, 8, 8, 3])
    assert len(layer.variables) == 1


@pytest.mark.parametrize("arguments", [{}, {"dilation": 2}, {"groups": 2}])
@pytest.mark.parametrize(("policy", "tolerance"), [("bfloat16", 0.02), ("float16", 0.003)])
def test_mixed_precision(arguments, policy, tolerance):
    layer = Convolution(4, 3, dtype=f"mixed_{policy}", **arguments)
    inputs = images(2, 7, 6, 4)
    outputs = layer(inputs)
    assert outputs.dtype == policy and layer.kernel.dtype == tf.float32
    exact = Convolution(4, 3, **arguments)
    exact.build(inputs.shape)
    exact.set_weights(layer.get_weights())
    expected = exact(inputs)
    np.testing.assert_allclose(
        tf.cast(outputs, tf.float32), expected, rtol=0, atol=tolerance * np.abs(expected).max()
    )


def test_config_round_trip():
    layer = Convolution(8, 3, 1, 2, 4, False, name="conv", dtype="mixed_bfloat16", trainable=False)
    copy = Convolution.from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
    assert (copy.filters, copy.kernel_size, copy.strides) == (8, (3, 3), (1, 1))
    assert (copy.dilation_rate, copy.groups, copy.symmetric) == ((2, 2), 4, False)
    assert (copy.name, copy.trainable, copy.compute_dtype) == ("conv", False, "bfloat16")
