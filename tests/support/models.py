"""Model small enough for unit tests, a run folder for it, and a train step that records its gradients."""

import numpy as np
import tensorflow as tf

from pixpro_tf import build
from pixpro_tf.config import Config
from pixpro_tf.interop import torch as names
from pixpro_tf.layers.batch_norm import BatchNorm
from pixpro_tf.optimizers.lars import LARS
from pixpro_tf.storage.checkpoints import CheckpointStore
from pixpro_tf.storage.run_folder import RunFolder, start_run_folder

NECK_LAYERS = ("lateral", "output", "coarser", "norm")
# Flags of images with four channels of 12 bits.
FOUR_CHANNELS = {
    "dataset": "folder:tiles",
    "channels": 4,
    "channel_low": (100.0, 0.0, 50.0, 200.0),
    "channel_high": (3000.0, 4095.0, 3500.0, 4000.0),
    "channel_mean": (0.3, 0.4, 0.5, 0.6),
    "channel_std": (0.1, 0.2, 0.25, 0.15),
}
# Flags of RGB images with 8 bits whose statistics differ from ImageNet's.
OTHER_MEAN = {"channel_mean": (0.1, 0.7, 0.4), "channel_std": (0.05, 0.3, 0.1)}
SMALL = {"image_size": 64, "projector_hidden": 32, "projector_dim": 16}


def make_model(backbone="resnet10", objectives=None, policy="", **flags):
    config = Config(backbone=backbone, **(SMALL | flags))
    model = build.build_model(config, total_steps=10, objectives=objectives, policy=policy)
    model.compile(optimizer=LARS(0.1), jit_compile=False)
    return model


def settle(backbone, seed=0):
    """Assigns weights as after training: every scale and shift matters, and running averages are near those of the features.

    With He initialisation alone, each block would be the identity; with branches as large as their shortcuts, a random network would double
    rounding errors every few blocks.
    """
    rng = np.random.default_rng(seed)
    for block in [block for blocks in backbone.stages for block in blocks]:
        block.norms[-1].gamma.assign(rng.uniform(0.05, 0.15, block.norms[-1].gamma.shape))
    norms = [layer for layer in backbone.submodules if isinstance(layer, BatchNorm)]
    for norm in norms:
        norm.gamma.assign(norm.gamma * rng.uniform(0.5, 1.5, norm.gamma.shape))
        norm.beta.assign(rng.normal(0, 0.2, norm.beta.shape))
        norm.momentum = 0.0
    shape = (4, 64, 64, backbone.channels.count)
    backbone(rng.normal(size=shape).astype(np.float32), training=True)
    for norm in norms:
        norm.momentum = 0.9
        deviation = np.sqrt(norm.moving_variance)
        norm.moving_mean.assign_add(0.2 * deviation * rng.normal(size=deviation.shape))


def assert_target_follows(model):
    """Asserts that the target network equals the online network, including running averages."""
    # Compared by name, because the variables of a non-trainable network have a different order.
    weights = names.state_dict(model)
    online = [name for name in weights if name.startswith("encoder.")]
    assert any(name.endswith("running_mean") for name in online)
    for name in online:
        np.testing.assert_array_equal(weights[name.replace(".", "_k.", 1)], weights[name])


def make_run(folder, finished=True, **flags):
    """Creates a run folder at step 3 with random weights that differ between the two networks; returns the folder."""
    model = make_model(**flags)
    rng = np.random.default_rng(0)
    for variable in model.variables:
        if "moving_variance" in variable.name:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        elif "projector" in variable.name or "value_transform" in variable.name:
            variable.assign(rng.uniform(-1, 1, variable.shape))
        # Biases, scales, shifts and running averages of a neck.
        if variable.shape.rank == 1 and any(kind in variable.name for kind in NECK_LAYERS):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    settle(model.online.backbone, seed=1)
    settle(model.target.backbone, seed=2)
    model.optimizer.build(model.trainable_variables)
    model.optimizer.iterations.assign(3)
    # One epoch of 48 images in batches of 16 has 3 steps.
    config = Config(batch_size=16, epochs=1 if finished else 2, warmup_epochs=0, **(SMALL | flags))
    run = RunFolder(str(folder))
    start_run_folder(config, run, 48, [])
    CheckpointStore(run.checkpoints, model).save()
    return folder


def recording_step(model, dtype, graph=True):
    """Returns a train step that also returns its gradients.

    Args:
        model: compiled model.
        dtype: dtype of the views.
        graph: whether to run the step as a graph.

    Returns:
        A function from two views and their boxes to the loss and the gradients, keyed by `ref` of their variables.
    """
    optimizer = model.optimizer
    recorded = []
    apply_gradients = optimizer.apply_gradients

    def record(gradients_and_variables, **kwargs):
        recorded[:] = gradients_and_variables
        return apply_gradients(recorded, **kwargs)

    optimizer.apply_gradients = record

    def train_step(batch):
        metrics = model.train_step(batch)
        return metrics["loss"], [gradient for gradient, _ in recorded]

    if graph:
        train_step = tf.function(train_step)

    def step(view_1, view_2, box_1, box_2):
        views = {"view_1": tf.cast(view_1, dtype), "view_2": tf.cast(view_2, dtype)}
        loss, gradients = train_step(views | {"box_1": box_1, "box_2": box_2})
        pairs = zip(recorded, gradients, strict=True)
        return float(loss), {variable.ref(): gradient.numpy() for (_, variable), gradient in pairs}

    return step
