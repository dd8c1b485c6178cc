"""Gradient accumulation: a step applies the mean of the gradients of its micro-batches."""

import numpy as np
import pytest

import pixpro_tf  # noqa: F401 - chooses Keras 2, so it comes before TensorFlow

# isort: split
import tensorflow as tf

from pixpro_tf.config import Config
from pixpro_tf.errors import ConfigError
from tests.support.models import make_model, recording_step

BOX = [[0.0, 0.0, 0.8, 0.9], [0.1, 0.3, 0.7, 1.0], [0.4, 0.0, 1.0, 0.5]]


def part(seed):
    rng = np.random.default_rng(seed)
    views = {name: rng.normal(size=(3, 64, 64, 3)).astype("f") for name in ("view_1", "view_2")}
    boxes = {
        name: np.roll(BOX, seed + shift, 0).astype("f")
        for shift, name in enumerate(("box_1", "box_2"))
    }
    return views | boxes


def model_of(accumulation, rate, **flags):
    tf.keras.utils.set_random_seed(3)
    # float64 separates rounding errors from mistakes clearly.
    model = make_model(
        "resnet10w0.5", policy="float64", gradient_accumulation=accumulation, batch_size=6, **flags
    )
    model.compile(optimizer=tf.keras.optimizers.legacy.SGD(rate), jit_compile=False)
    return model


def weights(model):
    return [variable.numpy() for variable in model.trainable_variables]


def step(model, *parts):
    logs = model.make_train_function()(iter(parts))
    return {name: float(value) for name, value in logs.items() if name != "data_wait"}


def assert_close(values, expected):
    for value, other in zip(values, expected, strict=True):
        np.testing.assert_allclose(value, other, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_step_applies_the_mean_gradient_of_its_micro_batches():
    lone = model_of(1, rate=0.0)
    one_part = recording_step(lone, tf.float64, graph=False)
    alone = [one_part(**part(seed)) for seed in (0, 1)]
    model = model_of(2, rate=1.0)
    before = weights(model)
    assert_close(before, weights(lone))
    logs = step(model, part(0), part(1))
    gradients = [
        (alone[0][1][variable.ref()] + alone[1][1][variable.ref()]) / 2
        for variable in lone.trainable_variables
    ]
    assert_close(weights(model), [a - b for a, b in zip(before, gradients, strict=True)])
    assert logs["loss"] == pytest.approx((alone[0][0] + alone[1][0]) / 2, rel=1e-6)
    norm = np.sqrt(sum(np.sum(gradient**2) for gradient in gradients))
    assert logs["gradient_norm"] == pytest.approx(norm, rel=1e-6)
    assert model.finished_steps == 1


@pytest.mark.slow
@pytest.mark.parametrize("jit", ["off", pytest.param("step", marks=pytest.mark.thorough)])
def test_equal_micro_batches_train_as_one_batch(jit):
    # Equal micro-batches have the same statistics as the whole batch.
    whole, parted = model_of(1, rate=0.1, jit=jit), model_of(2, rate=0.1, jit=jit)
    for seed in range(3):
        once = part(seed)
        twice = {name: np.concatenate([value, value]) for name, value in once.items()}
        logs, parted_logs = step(whole, twice), step(parted, once, once)
        assert parted_logs.keys() == logs.keys()
        for name in ("loss", "consistency", "gradient_norm", "ema_momentum"):
            assert parted_logs[name] == pytest.approx(logs[name], rel=1e-6), name
    assert_close(weights(parted), weights(whole))
    targets = [
        [variable.numpy() for variable in model.target.variables if "moving" not in variable.name]
        for model in (parted, whole)
    ]
    assert_close(*targets)
    # The networks start with equal weights, and the target follows as an average.
    assert np.any(targets[0][0] != weights(parted)[0])


def test_batch_that_cannot_be_split_is_rejected():
    message = (
        "--batch_size=6 cannot be split into the 4 micro-batches of --gradient_accumulation; use"
    )
    with pytest.raises(ConfigError, match=f"^{message} a multiple of 4"):
        Config(batch_size=6, gradient_accumulation=4)
    message = "--gradient_accumulation on 2 replicas; use a multiple of 4, e.g."
    with pytest.raises(ConfigError, match=f"{message} --batch_size=8$"):
        Config(batch_size=10, gradient_accumulation=2, num_devices=2)
    for contrasts in (
        {"instance_weight": 1, "instance_loss": "contrastive"},
        {"pixel_loss": "pixcontrast", "negatives": "batch"},
        {"pixel_loss": "pixcontrast", "negatives": "both"},
    ):
        message = "nothing to compare it with; use fewer micro-batches$"
        with pytest.raises(ConfigError, match=message):
            Config(batch_size=4, gradient_accumulation=4, **contrasts)
        Config(batch_size=8, gradient_accumulation=4, **contrasts)


@pytest.mark.slow
def test_fit_takes_whole_steps_from_a_finite_dataset():
    """Keras counts the elements of a dataset, of which a step takes two; the fifth one is left out."""
    model = model_of(2, rate=0.1)
    parts = [part(seed) for seed in range(5)]
    dataset = tf.data.Dataset.from_generator(
        lambda: iter(parts),
        output_signature={
            name: tf.TensorSpec(value.shape, value.dtype) for name, value in parts[0].items()
        },
    )
    with pytest.raises(ValueError, match=r"^fit\(\) needs steps_per_epoch: .* 2 micro-batches"):
        model.fit(dataset, verbose=0)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(5))
    history = model.fit(dataset, epochs=3, verbose=0)
    assert model.finished_steps == 6 and len(history.history["loss"]) == 3
    by_hand = model_of(2, rate=0.1)
    train = by_hand.make_train_function()
    for _ in range(3):
        batches = iter(parts)
        for _ in range(2):
            train(batches)
    assert_close(weights(model), weights(by_hand))
    with pytest.raises(ValueError, match="has 1 micro-batches, and each step takes 2"):
        model.fit(dataset.take(1), verbose=0)
