"""LAMB: the variables that are excluded by rank, and the error message if tensorflow-addons is missing."""

import sys

import numpy as np
import pytest
import tensorflow as tf

from pixpro_tf.build import build_optimizer
from pixpro_tf.config import Config
from pixpro_tf.errors import ConfigError
from pixpro_tf.optimizers.lamb import make_lamb

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-6


def first_step_by_hand(weight, gradient, rate, decay):
    """Algorithm 2 of You et al., ICLR 2020, with both moments corrected for their start at zero."""
    first = (1 - BETA_1) * gradient / (1 - BETA_1)
    second = (1 - BETA_2) * gradient**2 / (1 - BETA_2)
    update = first / (np.sqrt(second) + EPSILON)
    if weight.ndim > 1:
        update = update + decay * weight
        update = update * np.linalg.norm(weight) / np.linalg.norm(update)
    return weight - rate * update


def test_one_dimensional_variables_get_neither_weight_decay_nor_adaptation():
    pytest.importorskip("tensorflow_addons")
    rng = np.random.default_rng(0)
    shapes = [(3, 3, 4, 5), (6, 4), (5,)]
    weights = [3 * rng.standard_normal(shape) for shape in shapes]
    gradients = [rng.standard_normal(shape) for shape in shapes]
    variables = [tf.Variable(weight, dtype=tf.float32) for weight in weights]
    optimizer = make_lamb(0.5, 0.3)
    optimizer.apply_gradients(
        zip([tf.constant(each, tf.float32) for each in gradients], variables, strict=True)
    )
    for variable, weight, gradient in zip(variables, weights, gradients, strict=True):
        expected = first_step_by_hand(weight, gradient, 0.5, 0.3)
        np.testing.assert_allclose(variable, expected, rtol=0, atol=1e-4)


def test_schedule_sets_learning_rate():
    pytest.importorskip("tensorflow_addons")

    class Rates(tf.keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            return tf.gather(tf.constant([0.0, 0.5]), tf.cast(step, tf.int64))

    variable = tf.Variable([1.0, 2.0])
    optimizer = make_lamb(Rates(), 0.0)
    optimizer.apply_gradients([(tf.constant([1.0, -1.0]), variable)])
    np.testing.assert_array_equal(variable, [1.0, 2.0])
    optimizer.apply_gradients([(tf.constant([1.0, -1.0]), variable)])
    # The gradient is the same twice, so the corrected moments are the gradient and its square.
    np.testing.assert_allclose(variable, [0.5, 2.5], rtol=0, atol=1e-4)


def test_missing_tensorflow_addons_is_reported_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_addons", None)
    with pytest.raises(ConfigError) as caught:
        build_optimizer(Config(optimizer="lamb"), 0.5)
    text = str(caught.value)
    assert text.startswith("--optimizer=lamb needs tensorflow-addons")
    assert "\n" not in text
