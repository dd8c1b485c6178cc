"""AdamW: its steps computed by hand, and the variables that are excluded by rank."""

import numpy as np
import tensorflow as tf

from pixpro_tf.optimizers.adamw import AdamW

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7


def steps_by_hand(weight, gradients, rate, decay):
    """Algorithm 2 of Loshchilov and Hutter, ICLR 2019, with epsilon added to the uncorrected root, as in Keras."""
    first = second = np.zeros_like(weight)
    for step, gradient in enumerate(gradients, start=1):
        first = BETA_1 * first + (1 - BETA_1) * gradient
        second = BETA_2 * second + (1 - BETA_2) * gradient**2
        weight = weight - (rate * decay * weight if weight.ndim > 1 else 0)
        corrected = rate * np.sqrt(1 - BETA_2**step) / (1 - BETA_1**step)
        weight = weight - corrected * first / (np.sqrt(second) + EPSILON)
    return weight


def test_one_dimensional_variables_get_no_weight_decay():
    rng = np.random.default_rng(0)
    shapes = [(3, 3, 4, 5), (6, 4), (5,), ()]
    weights = [3 * rng.standard_normal(shape) for shape in shapes]
    gradients = [[rng.standard_normal(shape) for shape in shapes] for _ in range(3)]
    variables = [tf.Variable(weight, dtype=tf.float32) for weight in weights]
    optimizer = AdamW(0.1, 0.3)
    for of_step in gradients:
        optimizer.apply_gradients(
            zip([tf.constant(each, tf.float32) for each in of_step], variables, strict=True)
        )
    for index, (variable, weight) in enumerate(zip(variables, weights, strict=True)):
        expected = steps_by_hand(weight, [each[index] for each in gradients], 0.1, 0.3)
        np.testing.assert_allclose(variable, expected, rtol=0, atol=1e-5)
