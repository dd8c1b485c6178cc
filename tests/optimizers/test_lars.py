"""LARS and momentum SGD compared with NumPy in float64, over steps with a changing learning rate."""

import numpy as np
import pytest
import tensorflow as tf

from pixpro_tf.build import build_optimizer
from pixpro_tf.config import Config
from pixpro_tf.optimizers.lars import LARS, MomentumSGD
from pixpro_tf.optimizers.schedules import WarmupCosine

# Powers of two, because Keras stores the learning rate in float32, which represents them exactly.
RATES = (0.5, 1.0, 0.25)
SHAPES = {"kernel": (3, 3, 4, 5), "matrix": (6, 4), "scale": (5,), "scalar": ()}


@tf.keras.utils.register_keras_serializable("tests")
class Rates(tf.keras.optimizers.schedules.LearningRateSchedule):
    def __call__(self, step):
        return tf.gather(tf.constant(RATES), step)

    def get_config(self):
        return {}


def draw(seed):
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape) for name, shape in SHAPES.items()}


def lars_by_hand(weights, gradients, momentum, decay, trust):
    weights = dict(weights)
    velocity = {name: np.zeros(shape) for name, shape in SHAPES.items()}
    for rate, gradient in zip(RATES, gradients, strict=True):
        for name, weight in weights.items():
            update = gradient[name]
            if weight.ndim > 1:
                update = update + decay * weight
                weight_norm, norm = np.linalg.norm(weight), np.linalg.norm(update)
                if weight_norm > 0 and norm > 0:
                    update = update * trust * weight_norm / (norm + 1e-8)
            velocity[name] = momentum * velocity[name] + update
            weights[name] = weight - rate * velocity[name]
    return weights


def sgd_by_hand(weights, gradients, momentum, decay):
    weights = dict(weights)
    velocity = {name: np.zeros(shape) for name, shape in SHAPES.items()}
    for rate, gradient in zip(RATES, gradients, strict=True):
        for name, weight in weights.items():
            velocity[name] = momentum * velocity[name] + gradient[name] + decay * weight
            weights[name] = weight - rate * velocity[name]
    return weights


def run(optimizer, weights, gradients, dtype=tf.float64):
    variables = {name: tf.Variable(value, dtype=dtype) for name, value in weights.items()}
    for gradient in gradients:
        optimizer.apply_gradients(
            [(tf.constant(gradient[name], dtype), variables[name]) for name in variables]
        )
    return {name: variable.numpy() for name, variable in variables.items()}


def assert_equal_weights(result, expected, rtol):
    for name, value in expected.items():
        np.testing.assert_allclose(result[name], value, rtol=rtol, atol=rtol, err_msg=name)


# The schedule's float32 values and the hyperparameters, which are Python floats, are not rounded in float64.
@pytest.mark.parametrize(("dtype", "rtol"), [(tf.float64, 1e-13), (tf.float32, 1e-5)])
def test_lars_matches_update_by_hand(dtype, rtol):
    weights, gradients = draw(0), [draw(seed) for seed in (1, 2, 3)]
    optimizer = LARS(Rates(), momentum=0.8, weight_decay=0.3, trust_coefficient=0.02)
    expected = lars_by_hand(weights, gradients, 0.8, 0.3, 0.02)
    assert_equal_weights(run(optimizer, weights, gradients, dtype), expected, rtol)


@pytest.mark.parametrize(("dtype", "rtol"), [(tf.float64, 1e-13), (tf.float32, 1e-5)])
def test_sgd_matches_update_by_hand(dtype, rtol):
    weights, gradients = draw(0), [draw(seed) for seed in (1, 2, 3)]
    optimizer = MomentumSGD(Rates(), momentum=0.8, weight_decay=0.3)
    expected = sgd_by_hand(weights, gradients, 0.8, 0.3)
    assert_equal_weights(run(optimizer, weights, gradients, dtype), expected, rtol)


def test_lars_in_graph_matches_update_by_hand():
    weights, gradients = draw(0), [draw(seed) for seed in (1, 2, 3)]
    variables = {name: tf.Variable(value) for name, value in weights.items()}
    optimizer = LARS(Rates(), momentum=0.8, weight_decay=0.3, trust_coefficient=0.02)

    @tf.function
    def step(gradient):
        optimizer.apply_gradients([(gradient[name], variables[name]) for name in variables])

    for gradient in gradients:
        step({name: tf.constant(value) for name, value in gradient.items()})
    expected = lars_by_hand(weights, gradients, 0.8, 0.3, 0.02)
    assert_equal_weights({name: each.numpy() for name, each in variables.items()}, expected, 1e-13)


def test_one_dimensional_variables_get_neither_weight_decay_nor_adaptation():
    variable = tf.Variable([3.0, 4.0])
    LARS(0.5, weight_decay=10.0).apply_gradients([(tf.constant([1.0, -2.0]), variable)])
    np.testing.assert_allclose(variable, [3.0 - 0.5, 4.0 + 1.0], rtol=1e-6)


def test_adapted_step_has_length_of_weights_times_trust_and_learning_rate():
    start = np.full([2, 2], 3.0)
    variable = tf.Variable(start)
    optimizer = LARS(0.5, weight_decay=0.0, trust_coefficient=0.01)
    optimizer.apply_gradients([(tf.constant([[1.0, 0.0], [0.0, -7.0]], tf.float64), variable)])
    # ||w|| = 6; the 1e-8 added to the gradient's norm of 7 shortens the step by about 1e-9 of its length.
    np.testing.assert_allclose(np.linalg.norm(variable - start), 0.5 * 0.01 * 6, rtol=1e-8)


def test_zero_weight_takes_plain_step():
    variable = tf.Variable(np.zeros([2, 2]))
    gradient = np.array([[1.0, 2.0], [3.0, 4.0]])
    LARS(0.5, weight_decay=0.3).apply_gradients([(tf.constant(gradient), variable)])
    np.testing.assert_allclose(variable, -0.5 * gradient, rtol=1e-15)


def test_zero_gradient_changes_nothing_without_weight_decay():
    variable = tf.Variable(np.ones([2, 2]))
    LARS(0.5, weight_decay=0.0).apply_gradients([(tf.zeros([2, 2], tf.float64), variable)])
    np.testing.assert_array_equal(variable, np.ones([2, 2]))


def test_weight_decay_alone_is_adapted_too():
    variable = tf.Variable(np.ones([2, 2]))
    optimizer = LARS(0.5, weight_decay=0.1, trust_coefficient=0.02)
    optimizer.apply_gradients([(tf.zeros([2, 2], tf.float64), variable)])
    # g = 0.1 w, so the adapted gradient is 0.02 w, except for the 1e-8 added to a norm of 0.2.
    np.testing.assert_allclose(variable, np.full([2, 2], 1 - 0.5 * 0.02), rtol=1e-8)


def test_sgd_decays_every_variable():
    variable = tf.Variable(np.array([1.0, -2.0]))
    optimizer = MomentumSGD(0.5, weight_decay=0.1)
    optimizer.apply_gradients([(tf.zeros([2], tf.float64), variable)])
    np.testing.assert_allclose(variable, [0.95, -1.9], rtol=1e-15)


@pytest.mark.parametrize("schedule", [False, True])
@pytest.mark.parametrize(
    "optimizer",
    [
        lambda rate: LARS(rate, 0.7, 0.2, 0.03, name="a", clipnorm=2.0),
        lambda rate: MomentumSGD(rate, 0.7, 0.2, name="b"),
    ],
    ids=["lars", "sgd"],
)
def test_config_round_trip(optimizer, schedule):
    original = optimizer(WarmupCosine(1.0, 2, 10) if schedule else 0.25)
    scope = {"WarmupCosine": WarmupCosine}
    with tf.keras.utils.custom_object_scope(scope):
        copy = type(original).from_config(original.get_config())
    assert copy.get_config() == original.get_config()
    weights, gradients = draw(0), [draw(1), draw(2)]
    expected = run(original, weights, gradients)
    assert_equal_weights(run(copy, weights, gradients), expected, rtol=0)


def test_momentum_is_restored_from_checkpoint(tmp_path):
    def make():
        variable = tf.Variable(np.ones([2, 3]), name="w")
        optimizer = LARS(0.5, trust_coefficient=0.1)
        optimizer.build([variable])
        return variable, optimizer, tf.train.Checkpoint(variable=variable, optimizer=optimizer)

    def step(variable, optimizer, seed):
        gradient = np.random.default_rng(seed).standard_normal([2, 3])
        optimizer.apply_gradients([(tf.constant(gradient), variable)])

    variable, optimizer, checkpoint = make()
    step(variable, optimizer, 0)
    path = checkpoint.save(tmp_path / "checkpoint")
    step(variable, optimizer, 1)
    resumed, resumed_optimizer, resumed_checkpoint = make()
    resumed_checkpoint.restore(path).assert_consumed()
    assert resumed_optimizer.iterations == 1
    step(resumed, resumed_optimizer, 1)
    np.testing.assert_array_equal(resumed, variable)


def test_lars_in_mirrored_strategy_matches_update_by_hand():
    weights, gradients = draw(0), [draw(seed) for seed in (1, 2, 3)]
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        variables = {name: tf.Variable(value) for name, value in weights.items()}
        optimizer = LARS(Rates(), momentum=0.8, weight_decay=0.3, trust_coefficient=0.02)

    @tf.function
    def step(gradient):
        def replica_step():
            optimizer.apply_gradients(
                [(gradient[name], variables[name]) for name in variables],
                experimental_aggregate_gradients=False,
            )

        strategy.run(replica_step)

    for gradient in gradients:
        step({name: tf.constant(value) for name, value in gradient.items()})
    expected = lars_by_hand(weights, gradients, 0.8, 0.3, 0.02)
    assert_equal_weights({name: each.numpy() for name, each in variables.items()}, expected, 1e-13)


def test_build_optimizer_returns_named_optimizer():
    flags = {"momentum": 0.7, "weight_decay": 0.2, "trust_coefficient": 0.03}
    lars = build_optimizer(Config(optimizer="lars", **flags), 0.5)
    sgd = build_optimizer(Config(optimizer="sgd", momentum=0.7, weight_decay=0.2), 0.5)
    assert type(lars) is LARS and type(sgd) is MomentumSGD
    assert (lars.momentum, lars.gradient_decay, lars.trust_coefficient) == (0.7, 0.2, 0.03)
    assert (sgd.momentum, sgd.gradient_decay) == (0.7, 0.2)
    adamw = build_optimizer(Config(optimizer="adamw", weight_decay=0.2), 0.5)
    assert adamw.weight_decay == 0.2
    assert float(lars.learning_rate) == float(sgd.learning_rate) == 0.5
