"""A model small enough for unit tests, and the folder of a run of it."""

import numpy as np

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
