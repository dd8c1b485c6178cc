"""Batch norm compared with NumPy in float64: outputs, running averages, precision, and agreement of its implementations."""

import functools
import subprocess

import numpy as np
import pytest
import tensorflow as tf

from pixpro_tf.layers.batch_norm import BatchNorm, separate_statistics
from pixpro_tf.ops import normalization
from tests.conftest import ROOT
from tests.support import warm

CHANNELS = 3
SCALE, SHIFT = np.array([0.5, 1.0, 2.0]), np.array([0.1, 0.0, -0.3])
MEAN, VARIANCE = np.array([0.2, -0.1, 0.4]), np.array([1.5, 0.5, 1.0])


def batch(*shape, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return (2.0 * rng.standard_normal((*shape, CHANNELS)) + [0.5, -1.0, 3.0]).astype(dtype)


def layer_with_weights(**kwargs):
    layer = BatchNorm(**kwargs)
    layer.build([None, CHANNELS])
    layer.set_weights([SCALE, SHIFT, MEAN, VARIANCE])
    return layer


def normalized(inputs, layer, mean, variance):
    return (inputs - mean) / np.sqrt(variance + layer.epsilon) * SCALE + SHIFT


def moments(inputs):
    rows = inputs.reshape(-1, CHANNELS).astype(np.float64)
    return rows.mean(axis=0), rows.var(axis=0), rows.var(axis=0, ddof=1)


@pytest.mark.parametrize("shape", [(2, 5, 4), (1, 1, 7), (9,), (4, 6)])
def test_training_normalises_by_batch_statistics(shape):
    inputs, layer = batch(*shape), layer_with_weights()
    mean, variance, _ = moments(inputs)
    outputs = layer(inputs, training=True)
    expected = normalized(inputs, layer, mean, variance)
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("shape", [(2, 5, 4), (9,)])
def test_training_updates_running_averages_with_unbiased_variance(shape, compiled):
    layer = layer_with_weights()
    function = tf.function(layer.__call__, jit_compile=True) if compiled else layer
    expected_mean, expected_variance = MEAN, VARIANCE
    for seed in range(3):
        inputs = batch(*shape, seed=seed)
        function(inputs, training=True)
        mean, _, unbiased = moments(inputs)
        expected_mean = 0.9 * expected_mean + 0.1 * mean
        expected_variance = 0.9 * expected_variance + 0.1 * unbiased
    np.testing.assert_allclose(layer.moving_mean, expected_mean, rtol=0, atol=1e-6)
    # The biased variance of nine values would change the result by a tenth of a ninth.
    np.testing.assert_allclose(layer.moving_variance, expected_variance, rtol=1e-5)


def test_momentum_is_weight_of_old_average():
    layer, inputs = layer_with_weights(momentum=0.25), batch(2, 5, 4)
    layer(inputs, training=True)
    expected = 0.25 * MEAN + 0.75 * moments(inputs)[0]
    np.testing.assert_allclose(layer.moving_mean, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 5, 4), (9,)])
def test_inference_normalises_by_running_averages_without_update(shape):
    layer, inputs = layer_with_weights(), batch(*shape)
    before = layer.get_weights()
    expected = normalized(inputs, layer, MEAN, VARIANCE)
    for outputs in (layer(inputs), layer(inputs, training=False)):
        np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-5)
    for old, new in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def with_gradients(layer, call, inputs, weights):
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = call(inputs)
        objective = tf.reduce_sum(weights * tf.square(outputs))
    gradients = tape.gradient(objective, [inputs, layer.gamma, layer.beta])
    return [outputs, *gradients, layer.moving_mean, layer.moving_variance]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64", "mixed_bfloat16"])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("added", [False, True])
def test_residual_and_relu_match_separate_operations(added, relu, dtype, compiled):
    layer, other = layer_with_weights(dtype=dtype), layer_with_weights(dtype=dtype)
    inputs, residual, weights = (
        tf.cast(batch(2, 5, 4, seed=seed, dtype=np.float64), layer.compute_dtype)
        for seed in range(3)
    )
    residual = residual if added else tf.zeros_like(residual)

    def separately(inputs, residual):
        outputs = layer._call_synchronized(inputs) + residual
        return tf.nn.relu(outputs) if relu else outputs

    def together(inputs, residual):
        with separate_statistics(1, compiled):
            return other._call_synchronized(inputs, residual if added else None, relu)

    results = []
    for which, call in ((layer, separately), (other, together)):
        with tf.GradientTape() as tape:
            tape.watch([inputs, residual])
            outputs = call(inputs, residual)
            objective = tf.reduce_sum(weights * tf.square(outputs))
        gradients = tape.gradient(objective, [inputs, which.gamma, which.beta, residual])
        found = [outputs, *gradients[: 4 if added else 3], which.moving_mean, which.moving_variance]
        results.append([tf.cast(each, tf.float64).numpy() for each in found])
    assert_close(results[1], results[0], {"float32": 1e-5, "float64": 1e-13}.get(dtype, 2e-2))


def assert_close(found, expected, tolerance):
    for value, other in zip(found, expected, strict=True):
        scale = np.abs(other).max()
        np.testing.assert_allclose(value, other, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("compiled", [False, True])
def test_implementations_agree_in_outputs_running_averages_and_gradients(compiled):
    inputs = tf.constant(batch(2, 5, 4))
    weights = tf.constant(batch(2, 5, 4, seed=9))
    layer, other = layer_with_weights(), layer_with_weights()
    fused = with_gradients(layer, layer._call_fused, inputs, weights)
    with separate_statistics(1, compiled):
        found = with_gradients(other, other._call_synchronized, inputs, weights)
    assert_close(found, fused, 1e-5)


@pytest.mark.parametrize("sums", ["products", "sums"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_batch_of_two_views_matches_two_batches(dtype, sums, monkeypatch):
    """Also compares both ways of summing: matrix products on CPUs, and sums on GPUs and TPUs, compiled by XLA."""
    monkeypatch.setattr(normalization, "on_cpu", lambda: sums == "products")
    inputs, weights = (
        [tf.constant(batch(2, 5, 4, seed=seed + view, dtype=dtype)) for view in range(2)]
        for seed in (0, 9)
    )
    layer = layer_with_weights(dtype=dtype)
    parts = [
        with_gradients(layer, functools.partial(layer, training=True), *each)
        for each in zip(inputs, weights, strict=True)
    ]
    outputs, of_inputs, of_gamma, of_beta = zip(*(part[:4] for part in parts), strict=True)
    expected = [tf.concat(outputs, 0), tf.concat(of_inputs, 0), sum(of_gamma), sum(of_beta)]
    expected += [layer.moving_mean, layer.moving_variance]

    def joined(compiled):
        layer = layer_with_weights(dtype=dtype)
        # Traced anew, because graphs of the other way of summing have the same signature.
        fresh = tf.function(normalization._traced, jit_compile=True, autograph=False)
        monkeypatch.setattr(normalization, "_compiled", fresh)
        with separate_statistics(2, compiled):
            call = functools.partial(layer, training=True)
            return with_gradients(layer, call, tf.concat(inputs, 0), tf.concat(weights, 0))

    assert_close(joined(compiled=False), expected, {"float32": 1e-5, "float64": 1e-13}[dtype])
    assert_close(
        joined(compiled=True), joined(compiled=False), {"float32": 1e-6, "float64": 1e-13}[dtype]
    )


def test_separate_statistics_end_with_their_context():
    layer, inputs = layer_with_weights(), batch(2, 5, 4)
    with pytest.raises(KeyError), separate_statistics(2):
        raise KeyError
    expected = normalized(inputs, layer, *moments(inputs)[:2])
    np.testing.assert_allclose(layer(inputs, training=True), expected, rtol=0, atol=1e-5)


def test_one_replica_uses_fused_kernel_for_float32_maps():
    layer = layer_with_weights()

    def operations(shape, dtype):
        function = tf.function(lambda inputs: layer(inputs, training=True))
        graph = function.get_concrete_function(tf.TensorSpec([*shape, CHANNELS], dtype)).graph
        return {operation.type for operation in graph.get_operations()}

    assert "FusedBatchNormV3" in operations([2, 5, 4], tf.float32)
    assert "FusedBatchNormV3" not in operations([9], tf.float32)


def test_float64_stays_float64():
    layer, inputs = layer_with_weights(dtype="float64"), batch(2, 5, 4, dtype=np.float64)
    mean, variance, unbiased = moments(inputs)
    outputs = layer(inputs, training=True)
    assert outputs.dtype == tf.float64
    assert all(variable.dtype == tf.float64 for variable in layer.variables)
    expected = normalized(inputs, layer, mean, variance)
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-12)
    expected = 0.9 * VARIANCE + 0.1 * unbiased
    np.testing.assert_allclose(layer.moving_variance, expected, rtol=1e-12)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("shape", [(2, 5, 4), (9,)])
def test_bfloat16_inputs_and_outputs_have_float32_statistics(shape, training):
    layer = layer_with_weights(dtype="mixed_bfloat16")
    inputs = tf.cast(batch(*shape), tf.bfloat16)
    outputs = layer(inputs, training=training)
    assert outputs.dtype == tf.bfloat16
    assert all(variable.dtype == tf.float32 for variable in layer.variables)
    exact = tf.cast(inputs, tf.float64).numpy()
    mean, variance = MEAN, VARIANCE
    if training:
        mean, variance, unbiased = moments(exact)
        expected = 0.9 * VARIANCE + 0.1 * unbiased
        np.testing.assert_allclose(layer.moving_variance, expected, rtol=1e-5)
    expected = normalized(exact, layer, mean, variance)
    # bfloat16 has eight significant bits: half a unit in the last place is 2**-9 of a value; values are at most 16 here.
    np.testing.assert_allclose(
        tf.cast(outputs, tf.float64), expected, rtol=2**-8, atol=1e-5 * np.abs(expected).max()
    )


def test_statistics_are_accurate_for_large_mean_in_bfloat16():
    layer = BatchNorm(dtype="mixed_bfloat16")
    inputs = tf.cast(batch(64) + 100.0, tf.bfloat16)
    layer(inputs, training=True)
    mean, _, unbiased = moments(tf.cast(inputs, tf.float64).numpy())
    np.testing.assert_allclose(layer.moving_mean, 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, 0.9 + 0.1 * unbiased, rtol=1e-3)


def test_non_trainable_layer_uses_batch_statistics_in_training():
    layer, inputs = layer_with_weights(), batch(2, 5, 4)
    layer.trainable = False
    mean, variance, _ = moments(inputs)
    outputs = layer(inputs, training=True)
    np.testing.assert_allclose(
        outputs, normalized(inputs, layer, mean, variance), rtol=0, atol=1e-5
    )
    expected = 0.9 * MEAN + 0.1 * mean
    np.testing.assert_allclose(layer.moving_mean, expected, rtol=0, atol=1e-6)
    assert not layer.trainable_variables


def test_running_averages_get_no_gradient():
    layer, inputs = layer_with_weights(), batch(2, 5, 4)
    with tf.GradientTape() as tape:
        tape.watch([layer.moving_mean, layer.moving_variance])
        outputs = tf.reduce_sum(layer(inputs, training=True) ** 3)
    assert tape.gradient(outputs, [layer.moving_mean, layer.moving_variance]) == [None, None]


def test_unknown_height_and_width():
    layer, inputs = layer_with_weights(), batch(2, 5, 4)
    signature = [tf.TensorSpec([None, None, None, CHANNELS])]
    function = tf.function(lambda x: layer(x, training=True), input_signature=signature)
    mean, variance, _ = moments(inputs)
    expected = normalized(inputs, layer, mean, variance)
    np.testing.assert_allclose(function(inputs), expected, rtol=0, atol=1e-5)


def test_config_round_trip():
    layer = BatchNorm(momentum=0.7, epsilon=1e-3, gamma_initializer="zeros", name="bn")
    copy = BatchNorm.from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
    assert (copy.momentum, copy.epsilon, copy.name) == (0.7, 1e-3, "bn")
    copy.build([None, CHANNELS])
    np.testing.assert_array_equal(copy.gamma, np.zeros(CHANNELS))


@pytest.mark.parametrize("arguments", [{"momentum": 1.0}, {"momentum": -0.1}, {"epsilon": 0.0}])
def test_values_out_of_range_are_rejected(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        BatchNorm(**arguments)


def test_unknown_number_of_channels_is_rejected():
    with pytest.raises(ValueError, match="static size"):
        BatchNorm().build([None, 4, 4, None])


NEARLY_CONSTANT = """
import sys

import numpy as np
import pixpro_tf
import tensorflow as tf
from pixpro_tf.layers.batch_norm import BatchNorm
from pixpro_tf.training.strategy import make_strategy

strategy = make_strategy("mirrored", num_devices=2)
shape = tuple(map(int, sys.argv[1:]))
rows = np.random.default_rng(0).normal(30.0, 1e-3, [2, *shape, 3]).astype(np.float32)
with strategy.scope():
    layer = BatchNorm()
    layer.build([None, 3])
    layer.moving_mean.assign([29.9, 30.0, 30.1])
inputs = strategy.experimental_distribute_values_from_function(
    lambda context: tf.constant(rows[context.replica_id_in_sync_group])
)
outputs = strategy.run(tf.function(lambda x: layer(x, training=True)), args=(inputs,))
outputs = np.stack([value.numpy() for value in strategy.experimental_local_results(outputs)])
outputs, exact = outputs.reshape(-1, 3), rows.reshape(-1, 3).astype(np.float64)
expected = (exact - exact.mean(axis=0)) / np.sqrt(exact.var(axis=0) + layer.epsilon)
print(abs(outputs - expected).max(), abs(expected).max())
"""


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["64", "4 4 4"])
def test_two_replicas_normalise_nearly_constant_channels_with_large_mean(shape):
    """The variance of the channels, 1e-6, is far below the rounding errors of their squares, 5e-5."""
    run = subprocess.run(
        warm.python("-c", NEARLY_CONSTANT, *shape.split()),
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    error, largest = map(float, run.stdout.split())
    assert largest > 0.5
    # The inputs themselves are rounded to 2e-6, which is 0.002 of their standard deviation.
    assert error < 0.02


TWO_REPLICAS = """
import numpy as np
import pixpro_tf
import tensorflow as tf
from pixpro_tf.layers.batch_norm import BatchNorm
from pixpro_tf.training.strategy import make_strategy

strategy = make_strategy("mirrored", num_devices=2)
rng = np.random.default_rng(0)
inputs, weights = rng.normal(0.5, 2.0, [2, 2, 2, 5, 4, 3]).astype(np.float32)
gamma, beta, mean = rng.normal(size=[3, 3]).astype(np.float32)

def made():
    layer = BatchNorm()
    layer.build([None, 3])
    for variable, value in zip((layer.gamma, layer.beta, layer.moving_mean), (gamma, beta, mean)):
        variable.assign(value)
    return layer

def step(layer, inputs, weights):
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs, training=True)
        objective = tf.reduce_sum(weights * tf.square(outputs))
    gradients = tape.gradient(objective, [inputs, layer.gamma, layer.beta])
    return [outputs, *gradients, tf.identity(layer.moving_mean), tf.identity(layer.moving_variance)]

whole = step(made(), *(tf.constant(each.reshape(4, 5, 4, 3)) for each in (inputs, weights)))
with strategy.scope():
    layer = made()
shares = [
    strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(each[context.replica_id_in_sync_group])
    )
    for each in (inputs, weights)
]
found = strategy.run(tf.function(lambda *args: step(layer, *args)), args=shares)
found = [np.stack([v.numpy() for v in strategy.experimental_local_results(f)]) for f in found]
joined = [f.reshape(4, 5, 4, 3) for f in found[:2]] + [f.sum(0) for f in found[2:4]] + [f[1] for f in found[4:]]
print(*(abs(a - b.numpy()).max() / abs(b.numpy()).max() for a, b in zip(joined, whole, strict=True)))
"""


@pytest.mark.slow
def test_two_replicas_match_whole_batch():
    """Compares outputs, gradients of inputs, scale and shift, and both running averages, in float32 with the fused kernels."""
    run = subprocess.run(
        warm.python("-c", TWO_REPLICAS), cwd=ROOT, check=True, capture_output=True, text=True
    )
    errors = [float(word) for word in run.stdout.split()]
    assert len(errors) == 6 and max(errors) < 1e-5
