"""The model: what its target network takes over from the online one, and when."""

import numpy as np

import pixpro_tf  # noqa: F401 - chooses Keras 2, so it comes before TensorFlow

# isort: split
import tensorflow as tf

from pixpro_tf.interop import torch as names
from pixpro_tf.normalization import BatchNorm
from tests.models import make_model


def values(variables):
    return [variable.numpy() for variable in variables]


def assert_equal(variables, expected):
    for variable, value in zip(variables, expected, strict=True):
        np.testing.assert_allclose(variable.numpy(), value, rtol=1e-6, atol=1e-7)


def shuffled_model():
    """A model whose two networks differ in every variable."""
    model = make_model("resnet10w0.5", projector_hidden=8, projector_dim=4)
    rng = np.random.default_rng(0)
    for variable in model.variables:
        variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return model


def test_the_target_starts_as_the_online_network_running_averages_included():
    model = shuffled_model()
    model.start_target_from_online()
    # By name: the variables of a network that is not trained come in another order.
    weights = names.state_dict(model)
    online = [name for name in weights if name.startswith("encoder.")]
    assert any(name.endswith("running_mean") for name in online)
    for name in online:
        np.testing.assert_array_equal(weights[name.replace(".", "_k.", 1)], weights[name])


def test_the_target_takes_over_a_share_of_the_weights_before_a_step_and_no_running_averages():
    model = shuffled_model()
    model.ema_schedule = lambda step: 0.25
    averages = []
    for layer in model.target.submodules:
        if isinstance(layer, BatchNorm):
            # Its averages stay then, whatever the batch.
            layer.momentum = 1.0
            averages += [layer.moving_mean, layer.moving_variance]
    weights = [variable for variable in model.target.variables if "moving" not in variable.name]
    online = values(model.online.trainable_variables)
    taken_over = [
        target + 0.25 * (other - target)
        for target, other in zip(values(weights), online, strict=True)
    ]
    own_averages = values(averages)
    views = {f"view_{view}": tf.random.normal([2, 64, 64, 3], seed=view) for view in (1, 2)}
    boxes = dict.fromkeys(("box_1", "box_2"), tf.constant([[0.0, 0.0, 1.0, 1.0]] * 2))
    model.train_step(views | boxes)
    assert_equal(weights, taken_over)
    assert_equal(averages, own_averages)
    # The step moved the online network afterwards.
    assert np.any(model.online.trainable_variables[0].numpy() != online[0])
