"""PixPro model: updates of its target network, and its behaviour as a Keras model."""

import numpy as np
import pytest

import pixpro_tf  # noqa: F401 - chooses Keras 2, so it comes before TensorFlow

# isort: split
import tensorflow as tf

from pixpro_tf.build import build_model
from pixpro_tf.config import Config
from pixpro_tf.errors import ConfigError
from pixpro_tf.layers.batch_norm import BatchNorm
from pixpro_tf.layers.heads import ProjectorSettings
from pixpro_tf.objectives.consistency import PixelConsistency
from pixpro_tf.storage import trained_weights
from tests.support.models import SMALL, assert_target_follows, make_model, make_run


def values(variables):
    return [variable.numpy() for variable in variables]


def assert_equal(variables, expected):
    for variable, value in zip(variables, expected, strict=True):
        np.testing.assert_allclose(variable.numpy(), value, rtol=1e-6, atol=1e-7)


def shuffled_model():
    """Returns a model whose two networks differ in every variable."""
    model = make_model("resnet10w0.5", projector_hidden=8, projector_dim=4)
    rng = np.random.default_rng(0)
    for variable in model.variables:
        variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return model


def test_target_starts_as_a_copy_of_the_online_network_with_running_averages():
    model = shuffled_model()
    model.start_target_from_online()
    assert_target_follows(model)


def test_target_takes_over_weights_before_each_step_but_no_running_averages():
    model = shuffled_model()
    model.ema_schedule = lambda step: 0.25
    averages = []
    for layer in model.target.submodules:
        if isinstance(layer, BatchNorm):
            # With this momentum, the averages stay the same for any batch.
            layer.momentum = 1.0
            averages += [layer.moving_mean, layer.moving_variance]
    weights = [variable for variable in model.target.variables if "moving" not in variable.name]
    online = values(model.online.trainable_variables)
    taken_over = [
        target + 0.25 * (other - target)
        for target, other in zip(values(weights), online, strict=True)
    ]
    own_averages = values(averages)
    model.train_step(batch())
    assert_equal(weights, taken_over)
    assert_equal(averages, own_averages)
    # The step updated the online network afterwards.
    assert np.any(model.online.trainable_variables[0].numpy() != online[0])


def batch(size=64):
    views = {
        f"view_{view}": np.random.default_rng(view).normal(size=(2, size, size, 3)).astype("f")
        for view in (1, 2)
    }
    return views | {name: np.float32([[0, 0, 1, 1]] * 2) for name in ("box_1", "box_2")}


def test_maps_of_objectives_and_model_must_agree():
    def build(level, pixel_levels):
        make_model(
            "resnet10w0.5",
            [PixelConsistency([level], ProjectorSettings(8, 4))],
            pixel_levels=pixel_levels,
        )

    with pytest.raises(ConfigError, match=r"^pixel_levels=p3,p4 adds p4 to the model, which no"):
        build("p3", "p3,p4")
    with pytest.raises(ConfigError, match=r"^an objective uses p3, which is not among the maps of"):
        build("p3", "c5")
    with pytest.raises(ConfigError, match=r"^the objectives use c4 only, which leaves the later"):
        build("c4", "c5")


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ({"loss": "mse"}, r"compile\(loss='mse'\) has no effect on a PixPro"),
        ({"metrics": ["accuracy"]}, "metrics"),
        ({"steps_per_execution": 5}, "each call of the train function runs one step"),
        ({"jit_compile": True}, r'PixPro\(jit="step"\) compiles the step'),
        ({"loss": np.zeros(3)}, "has no effect"),
    ],
)
def test_compile_arguments_without_effect_are_rejected(argument, said):
    model = make_model("resnet10w0.5")
    with pytest.raises(ValueError, match=said):
        model.compile(optimizer=model.optimizer, **argument)


def test_compile_arguments_that_change_nothing_are_accepted():
    model = make_model("resnet10w0.5")
    model.compile(optimizer=model.optimizer, loss=None, steps_per_execution=1, jit_compile=False)
    model.compile(optimizer=model.optimizer, loss=[], metrics=[], loss_weights={})


def test_steps_can_run_eagerly():
    model = make_model("resnet10w0.5", projector_hidden=8, projector_dim=4)
    model.compile(optimizer=model.optimizer, run_eagerly=True)
    eager = []
    step = model.train_step
    model.train_step = lambda batch: eager.append(tf.executing_eagerly()) or step(batch)
    model.fit(tf.data.Dataset.from_tensors(batch()).repeat(), steps_per_epoch=2, verbose=0)
    assert eager == [True, True] and model.finished_steps == 2


def test_evaluate_is_not_supported():
    model = make_model("resnet10w0.5")
    dataset = tf.data.Dataset.from_tensors(batch())
    for evaluate in (model.evaluate, model.test_on_batch):
        with pytest.raises(NotImplementedError, match="evaluate its backbone"):
            evaluate(dataset)
    with pytest.raises(NotImplementedError, match="a dataset of one batch"):
        model.train_on_batch(batch())
    with pytest.raises(TypeError, match=r"is called with images \[B, H, W, C\]"):
        model.predict(dataset, verbose=0)
    predicted = model.predict(batch()["view_1"], verbose=0)
    assert predicted["pixel"]["online"]["c5"].shape[0] == 2


@pytest.mark.parametrize(
    "arguments",
    [
        {"y": np.zeros(2)},
        {"validation_data": tf.data.Dataset.range(2)},
        {"validation_split": 0.5},
        {"class_weight": {0: 1.0}},
        {"sample_weight": np.ones(2)},
    ],
)
def test_arguments_of_fit_without_effect_are_rejected_before_training(arguments):
    model = make_model("resnet10w0.5")
    (name,) = arguments
    with pytest.raises(ValueError, match=rf"^fit\({name}=\.\.\.\) has no effect on a PixPro"):
        model.fit(tf.data.Dataset.from_tensors(batch()), **arguments)
    assert model.finished_steps == 0
    if name == "y":
        with pytest.raises(ValueError, match="has no effect"):
            model.fit(tf.data.Dataset.from_tensors(batch()), np.zeros(2))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_a_backbone_is_restored_in_float32_whatever_the_policy(policy, tmp_path):
    run = make_run(tmp_path / "run", backbone="resnet10w0.5")
    images = tf.constant(batch()["view_1"])
    wanted = trained_weights.restore_backbone(str(run))(images)["c5"]
    tf.keras.mixed_precision.set_global_policy(policy)
    found = trained_weights.restore_backbone(str(run))(images)["c5"]
    assert tf.keras.mixed_precision.global_policy().name == policy
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_model_leaves_the_global_policy_unchanged(precision):
    config = Config(backbone="resnet10w0.5", precision=precision, **SMALL)
    model = build_model(config, total_steps=10)
    assert model.online.backbone.compute_dtype == precision
    assert tf.keras.mixed_precision.global_policy().name == "float32"
