"""Projection and prediction heads: shapes, initial weights, precision, and outputs compared with NumPy in float64."""

import numpy as np
import pytest
import tensorflow as tf

from pixpro_tf.layers.heads import ConvMLP


def features(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def reference(layer, inputs, training):
    """Computes the head in float64, with a matrix product for every 1x1 convolution."""
    values = inputs.astype(np.float64)
    for index, convolution in enumerate(layer.convolutions):
        values = values @ convolution.kernel.numpy()[0, 0].astype(np.float64)
        values = values + convolution.bias.numpy()
        if index + 1 < len(layer.convolutions):
            norm = layer.norms[index]
            mean, variance = norm.moving_mean.numpy(), norm.moving_variance.numpy()
            if training:
                mean, variance = values.mean(axis=(0, 1, 2)), values.var(axis=(0, 1, 2))
            values = (values - mean) / np.sqrt(variance + 1e-5) * norm.gamma + norm.beta
            values = np.maximum(values, 0)
    return values


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_head_matches_matrix_products_with_batch_norm_and_relu(num_layers, training):
    layer, inputs = ConvMLP(16, 5, num_layers), features(2, 3, 4, 8)
    layer(inputs)
    expected = reference(layer, inputs, training)
    outputs = layer(inputs, training=training)
    assert outputs.shape == (2, 3, 4, 5) == layer.compute_output_shape(inputs.shape)
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-5)


def test_projector_has_published_size():
    layer = ConvMLP(4096, 256)
    layer(tf.keras.Input([7, 7, 2048]))
    shapes = [tuple(variable.shape) for variable in layer.trainable_variables]
    # 1x1 convolutions 2048 -> 4096 -> 256 with biases, and the BN between them.
    expected = [(1, 1, 2048, 4096), (4096,), (4096,), (4096,), (1, 1, 4096, 256), (256,)]
    assert sorted(shapes) == sorted(expected)


@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_weights_and_biases_have_uniform_initialisation_by_fan_in(num_layers):
    # The seed is fixed because one draw in millions is the lower limit itself, which float32 may round to a value just beyond it.
    tf.keras.utils.set_random_seed(0)
    layer = ConvMLP(400, 300, num_layers)
    layer(tf.keras.Input([1, 1, 100]))
    assert len(layer.convolutions) == num_layers
    for convolution in layer.convolutions:
        limit = convolution.kernel.shape[2] ** -0.5
        for values in (convolution.kernel.numpy(), convolution.bias.numpy()):
            assert np.abs(values).max() <= limit
            assert np.abs(values).max() > 0.97 * limit
            # Standard deviation of a uniform distribution; the tolerance is five standard errors of an estimate from 300 values.
            np.testing.assert_allclose(values.std(), limit / np.sqrt(3), rtol=0.13)
            assert abs(values.mean()) < 0.17 * limit


@pytest.mark.parametrize("seeded", [False, True])
def test_no_two_weights_share_initial_values(seeded):
    if seeded:
        tf.keras.utils.set_random_seed(3)
    heads = [ConvMLP(8, 8, 3), ConvMLP(8, 8, 3)]
    draws = []
    for head in heads:
        head(tf.keras.Input([1, 1, 8]))
        for convolution in head.convolutions:
            draws += [convolution.kernel.numpy().ravel()[:8], convolution.bias.numpy()]
    assert len({draw.tobytes() for draw in draws}) == len(draws) == 12


def test_seed_reproduces_weights():
    kernels = []
    for _ in range(2):
        tf.keras.utils.set_random_seed(3)
        head = ConvMLP(8, 8)
        head(tf.keras.Input([1, 1, 4]))
        kernels.append(head.get_weights())
    for first, second in zip(*kernels, strict=True):
        np.testing.assert_array_equal(first, second)


def test_unknown_height_and_width():
    layer, inputs = ConvMLP(16, 5), features(2, 3, 4, 8)
    layer(tf.keras.Input([None, None, 8]))
    function = tf.function(layer.__call__, input_signature=[tf.TensorSpec([None, None, None, 8])])
    np.testing.assert_allclose(function(inputs), reference(layer, inputs, False), atol=1e-5)


@pytest.mark.parametrize("as_argument", [False, True])
@pytest.mark.parametrize(
    ("policy", "tolerance"), [("mixed_bfloat16", 0.03), ("mixed_float16", 0.004)]
)
def test_mixed_precision_keeps_float32_weights(policy, tolerance, as_argument):
    if not as_argument:
        tf.keras.mixed_precision.set_global_policy(policy)
    layer, inputs = (
        ConvMLP(16, 5, **({"dtype": policy} if as_argument else {})),
        features(2, 3, 4, 8),
    )
    outputs = layer(inputs, training=True)
    assert outputs.dtype == policy.removeprefix("mixed_")
    assert all(variable.dtype == tf.float32 for variable in layer.variables)
    # The tolerance is some three roundings of 2**-9 (bfloat16) or 2**-12 (float16), relative to the largest value.
    expected = reference(layer, inputs, True)
    np.testing.assert_allclose(
        tf.cast(outputs, tf.float32), expected, rtol=0, atol=tolerance * np.abs(expected).max()
    )


def test_config_round_trip():
    layer = ConvMLP(16, 5, 3, name="projector", dtype="mixed_bfloat16")
    copy = ConvMLP.from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
    assert (copy.hidden_channels, copy.out_channels, copy.num_layers) == (16, 5, 3)
    assert copy.name == "projector"


def test_head_without_layers_is_rejected():
    with pytest.raises(ValueError, match="num_layers"):
        ConvMLP(16, 5, 0)


def test_final_norm_normalises_output():
    layer, inputs = ConvMLP(16, 5, final_norm=True), features(2, 3, 4, 8)
    plain = ConvMLP(16, 5)
    assert len(layer.get_config()) == len(plain.get_config())
    found = layer(inputs, training=True).numpy().reshape(-1, 5)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(found.std(axis=0), 1, atol=1e-3)
    assert np.abs(plain(inputs, training=True).numpy().reshape(-1, 5).mean(axis=0)).max() > 1e-2
    assert [norm.name for norm in layer.norms] == [f"{layer.name}.bn1", f"{layer.name}.bn2"]
    assert ConvMLP.from_config(layer.get_config()).final_norm
