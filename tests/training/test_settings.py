"""Settings of a run that nothing else would show if they were ignored: seeds, numerical settings, and when checkpoints are due."""

import os

import numpy as np
import pytest

import pixpro_tf  # noqa: F401 - chooses Keras 2, so it comes before TensorFlow

# isort: split
import tensorflow as tf
from tensorflow.python.framework.config import (
    disable_op_determinism,
    is_op_determinism_enabled,
)

from pixpro_tf import build
from pixpro_tf.config import Config
from pixpro_tf.data.views.photometric import denormalize
from pixpro_tf.errors import ConfigError, RunError
from pixpro_tf.ops import devices
from pixpro_tf.storage.run_folder import RunFolder
from pixpro_tf.training import callbacks, failures, inputs, run, strategy

SMALL = {
    "backbone": "resnet10w0.5",
    "image_size": 64,
    "batch_size": 8,
    "epochs": 6,
    "warmup_epochs": 0,
    "projector_hidden": 16,
    "projector_dim": 8,
}


@pytest.fixture
def numerics():
    yield
    disable_op_determinism()
    tf.config.experimental.enable_tensor_float_32_execution(True)


@pytest.mark.parametrize(
    ("flags", "deterministic"),
    [
        ({}, True),
        ({"deterministic": False}, False),
        ({"jit": "step"}, False),
        ({"strategy": "tpu", "tpu": "local", "precision": "bfloat16"}, False),
    ],
)
def test_operations_are_deterministic_by_default_and_float32_is_exact(
    numerics, flags, deterministic
):
    # An earlier run of the process leaves no trace.
    for first in (Config(), Config(deterministic=False)):
        strategy.set_numerics(first)
        strategy.set_numerics(Config(**flags))
        assert is_op_determinism_enabled() == deterministic
        assert not tf.config.experimental.tensor_float_32_execution_enabled()


def test_initial_weights_depend_on_the_seed_alone(numerics):
    def kernel(seed):
        strategy.set_numerics(Config(seed=seed))
        return build.build_model(Config(**SMALL), 1).online.backbone.stem[0].kernel.numpy()

    first, again, other = kernel(0), kernel(0), kernel(1)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01


def test_crops_depend_on_the_seed_alone(photos):
    def boxes(seed):
        config = Config(dataset=f"folder:{photos}", seed=seed, **SMALL)
        return next(iter(inputs.training_dataset(config)))["box_1"].numpy()

    first, again, other = boxes(0), boxes(0), boxes(1)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.05


@pytest.mark.parametrize("step", [0, 3])
def test_pictured_views_are_those_of_the_epoch(photos, step):
    """Of 48 images, a batch of 32 leaves out 16 in each epoch; micro-batches of 16 would leave out none."""
    flags = {"batch_size": 32, "gradient_accumulation": 2, "seed": 3, "max_crop_area": 0.3}
    config = Config(dataset=f"folder:{photos}", **SMALL | flags)
    source, _ = inputs.open_source(config, RunFolder("nowhere"))
    batch = next(iter(inputs.training_dataset(config, source, start_step=step)))
    view_1, _, box_1, box_2 = inputs.pictured_views(config, source, 1)(step)
    count = len(view_1)
    assert 2 <= count <= 16
    np.testing.assert_array_equal(box_1, batch["box_1"][:count])
    np.testing.assert_array_equal(box_2, batch["box_2"][:count])
    shown = denormalize(batch["view_1"][:count], config.image_channels)
    np.testing.assert_allclose(view_1, shown, atol=1e-6)


class Begun(Exception):
    """Raised instead of training."""


@pytest.mark.parametrize(
    ("flags", "every", "seconds", "kept"),
    [({}, 6, 180.0, 12), ({"checkpoint_every": 5}, 5, 0.0, 10)],
)
def test_checkpoints_are_due_each_epoch_but_not_too_often(
    photos, tmp_path, monkeypatch, flags, every, seconds, kept
):
    found = {}

    def fit(session, watchers):
        found["saver"], found["store"] = watchers[0], session.store
        raise Begun

    monkeypatch.setattr(run, "_fit", fit)
    monkeypatch.setattr(run, "set_numerics", lambda config: None)
    config = Config(
        dataset=f"folder:{photos}", run_dir=str(tmp_path / "run"), keep_every=2, **SMALL | flags
    )
    with pytest.raises(Begun):
        run.train(config)
    # 48 images in batches of 8 are 6 steps an epoch.
    saver, store = found["saver"], found["store"]
    assert isinstance(saver, callbacks.Checkpoints)
    assert (saver._every, saver._pace.seconds) == (every, seconds)
    assert [step for step in range(1, 37) if store.keeps(step)] == [*range(kept, 37, kept)]


@pytest.mark.parametrize("name", ["mirrored", "multi_worker"])
def test_compiled_steps_are_refused_where_a_gpu_would_fail(name):
    made = tf.distribute.OneDeviceStrategy("/cpu:0")
    with pytest.raises(ConfigError, match=f"--jit=step is not supported with --strategy={name}"):
        strategy.check_strategy(Config(jit="step", strategy=name), made)
    strategy.check_strategy(Config(jit="step", strategy="one_device"), made)


@pytest.mark.parametrize(("gpus", "wanted"), [(["GPU:0"], "NCCL"), ([], "AUTO")])
def test_gpus_of_several_workers_exchange_by_nccl(monkeypatch, gpus, wanted):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda *_: None)
    monkeypatch.setattr(
        tf.distribute,
        "MultiWorkerMirroredStrategy",
        lambda communication_options: communication_options,
    )
    options = strategy.make_strategy("multi_worker")
    assert options.implementation.name == wanted


def test_a_worker_that_cannot_start_is_reported_in_one_line(monkeypatch):
    def fail(communication_options):
        raise tf.errors.UnknownError(None, None, "Could not start gRPC server")

    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", fail)
    with pytest.raises(RunError, match="Could not start gRPC server; the port of this worker"):
        strategy.make_strategy("multi_worker")


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_the_heads_of_objectives_compute_in_the_precision_of_the_networks(precision):
    flags = {"precision": precision, "instance_weight": 1.0, "instance_loss": "contrastive"}
    model = build.build_compiled_model(Config(**SMALL | flags), 0.1, 10)
    wanted = "float32" if precision == "float32" else f"mixed_{precision}"
    layers = [
        layer
        for objective in model.objectives
        for layer in objective.submodules
        if isinstance(layer, tf.keras.layers.Layer) and layer.weights
    ]
    assert len(layers) > 3 and {layer.dtype_policy.name for layer in layers} == {wanted}


def test_devices_that_come_too_late_are_reported_in_one_line(monkeypatch):
    def refused(*_):
        raise RuntimeError("Virtual devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config, "set_logical_device_configuration", refused)
    with pytest.raises(
        RunError, match=r"^--num_devices=9 comes too late: .* start another process"
    ):
        strategy.make_strategy("mirrored", num_devices=9)


def test_drops_during_the_warm_up_are_refused():
    with pytest.raises(ConfigError, match="--lr_drops=3,6 must not begin during the warm-up"):
        Config(schedule="step", epochs=10, lr_drops="3,6")
    Config(schedule="step", epochs=10, lr_drops="5,6")


def test_a_run_that_has_begun_is_not_advised_to_change_its_flags():
    config = Config(batch_size=1024, run_dir="runs/mine")
    ways = [failures._out_of_memory(config, 8, has_begun).line for has_begun in (False, True)]
    assert ways[1] == f"{ways[0]}, in a new run with another --run_dir and --init_from=runs/mine"


def test_a_gpu_that_tensorflow_does_not_see_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "_GPUS_OF_THE_DRIVER", str(tmp_path / "gpus"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert not devices.has_unseen_gpu()
    os.makedirs(tmp_path / "gpus" / "0000:65:00.0")
    assert devices.has_unseen_gpu()
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert not devices.has_unseen_gpu()
