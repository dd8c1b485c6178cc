"""LAMB, compared with a step by hand and with the implementation of tensorflow-addons."""

import warnings

import numpy as np
import pytest
import tensorflow as tf

from pixpro_tf.build import build_optimizer
from pixpro_tf.config import Config
from pixpro_tf.optimizers.lamb import LAMB

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-6
SHAPES = [(3, 3, 4, 5), (6, 4), (5,)]


def first_step_by_hand(weight, gradient, rate, decay):
    """Algorithm 2 of You et al., ICLR 2020, with both moments corrected for their start at zero."""
    first = (1 - BETA_1) * gradient / (1 - BETA_1)
    second = (1 - BETA_2) * gradient**2 / (1 - BETA_2)
    update = first / (np.sqrt(second) + EPSILON)
    if weight.ndim > 1:
        update = update + decay * weight
        update = update * np.linalg.norm(weight) / np.linalg.norm(update)
    return weight - rate * update


def draws(seed, scale=1.0):
    rng = np.random.default_rng(seed)
    return [scale * rng.standard_normal(shape) for shape in SHAPES]


def trained(optimizer, steps=20):
    variables = [tf.Variable(weight, dtype=tf.float64) for weight in draws(0, scale=3.0)]
    for step in range(steps):
        gradients = [tf.constant(each, tf.float64) for each in draws(step + 1)]
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
    return [variable.numpy() for variable in variables]


def test_one_dimensional_variables_get_neither_weight_decay_nor_adaptation():
    found = trained(LAMB(0.5, 0.3), steps=1)
    for value, weight, gradient in zip(found, draws(0, scale=3.0), draws(1), strict=True):
        expected = first_step_by_hand(weight, gradient, 0.5, 0.3)
        # Keras keeps the learning rate in float32.
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-6)


def test_many_steps_are_those_of_tensorflow_addons():
    with warnings.catch_warnings():
        # The package warns at every import that its development has ended.
        warnings.simplefilter("ignore")
        addons = pytest.importorskip("tensorflow_addons")

    class Addons(addons.optimizers.LAMB):
        def _do_use_weight_decay(self, variable):
            return variable.shape.rank > 1

        def _do_layer_adaptation(self, variable):
            return variable.shape.rank > 1

    wanted = trained(Addons(0.05, weight_decay=0.3))
    for value, expected in zip(trained(LAMB(0.05, 0.3)), wanted, strict=True):
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-6)


def test_schedule_sets_learning_rate():
    class Rates(tf.keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            return tf.gather(tf.constant([0.0, 0.5]), tf.cast(step, tf.int64))

    variable = tf.Variable([1.0, 2.0])
    optimizer = LAMB(Rates(), 0.0)
    optimizer.apply_gradients([(tf.constant([1.0, -1.0]), variable)])
    np.testing.assert_array_equal(variable, [1.0, 2.0])
    optimizer.apply_gradients([(tf.constant([1.0, -1.0]), variable)])
    # The gradient is the same twice, so the corrected moments are the gradient and its square.
    np.testing.assert_allclose(variable, [0.5, 2.5], rtol=0, atol=1e-4)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_a_weight_or_an_update_of_zero_is_not_scaled(weight):
    variable = tf.Variable([[weight, weight]])
    gradient = tf.constant([[0.0, 0.0]] if weight else [[1.0, 1.0]])
    LAMB(0.5, 0.0).apply_gradients([(gradient, variable)])
    np.testing.assert_allclose(variable, [[1.0, 1.0]] if weight else [[-0.5, -0.5]], atol=1e-5)


def test_it_is_rebuilt_from_its_configuration():
    optimizer = build_optimizer(Config(optimizer="lamb", weight_decay=0.25), 0.5)
    again = LAMB.from_config(optimizer.get_config())
    assert again.get_config() == optimizer.get_config()
    assert again.decoupled_decay == 0.25
