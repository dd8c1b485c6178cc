"""A model small enough for unit tests."""

from pixpro_tf import pixpro
from pixpro_tf.optimizers.lars import LARS
from pixpro_tf.optimizers.schedules import EmaSchedule


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
