"""A model small enough for unit tests, the folder of a run of it, and a step that shows its gradients."""

import numpy as np
import tensorflow as tf

from pixpro_tf import pixpro
from pixpro_tf.checkpoints import CheckpointStore
from pixpro_tf.config import Config
from pixpro_tf.optimizers.lars import LARS
from pixpro_tf.optimizers.schedules import EmaSchedule
from pixpro_tf.run_folder import RunFolder, start_run_folder


def make_model(backbone="resnet10", projector_dim=16, **options):
    model = pixpro.build(
        backbone=backbone,
        image_size=64,
        projector_hidden=32,
        projector_dim=projector_dim,
        ema_schedule=EmaSchedule(0.99, 10),
        **options,
    )
    model.compile(optimizer=LARS(0.1), jit_compile=False)
    return model


def make_run(folder, **flags):
    """The folder of a run with random weights, at step 3; returns it."""
    options = {name: flags[name] for name in ("backbone_layout",) if name in flags}
    model = make_model(flags["backbone"], **options)
    rng = np.random.default_rng(0)
    for variable in model.variables:
        variable.assign(rng.uniform(0.5, 1, variable.shape))
    model.optimizer.build(model.trainable_variables)
    model.optimizer.iterations.assign(3)
    config = Config(image_size=64, projector_hidden=32, projector_dim=16, **flags)
    run = RunFolder(str(folder))
    start_run_folder(config, run, 48, [])
    CheckpointStore(run.checkpoints, model).save()
    return folder


def recording_step(model, dtype):
    """A train step as a graph: of two views and their boxes, the loss, and the gradients by `ref` of their variables."""
    optimizer = model.optimizer
    recorded = []
    apply_gradients = optimizer.apply_gradients

    def record(gradients_and_variables, **kwargs):
        recorded[:] = gradients_and_variables
        return apply_gradients(recorded, **kwargs)

    optimizer.apply_gradients = record

    @tf.function
    def train_step(batch):
        metrics = model.train_step(batch)
        return metrics["loss"], [gradient for gradient, _ in recorded]

    def step(view_1, view_2, box_1, box_2):
        views = {"view_1": tf.cast(view_1, dtype), "view_2": tf.cast(view_2, dtype)}
        loss, gradients = train_step(views | {"box_1": box_1, "box_2": box_2})
        pairs = zip(recorded, gradients, strict=True)
        return float(loss), {variable.ref(): gradient.numpy() for (_, variable), gradient in pairs}

    return step
