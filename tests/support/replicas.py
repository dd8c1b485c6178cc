"""Trains a small model for five steps under a strategy, for `test_replicas.py`.

Writes the weights of each case.

    python -m tests.support.replicas STRATEGY NUM_DEVICES CASE,CASE,... PHOTOS FOLDER

TF_CONFIG identifies the worker for `multi_worker`; worker 0 writes.
"""

import pathlib
import sys

import pixpro_tf  # noqa: F401  isort: skip

import numpy as np
import tensorflow as tf

from pixpro_tf import build
from pixpro_tf.config import Config
from pixpro_tf.data import sources
from pixpro_tf.interop import torch as names
from pixpro_tf.optimizers.lars import LARS
from pixpro_tf.optimizers.schedules import WarmupCosine
from pixpro_tf.training import inputs
from pixpro_tf.training.strategy import is_chief, make_strategy

STEPS = 5

_PIXPRO = {"ppm_layers": 2, "instance_weight": 0.5}
_CONTRAST = {
    "pixel_loss": "pixcontrast",
    "negatives": "both",
    "instance_weight": 1.0,
    "instance_loss": "contrastive",
}
_ACCUMULATED = {"gradient_accumulation": 2}
# Flags and precision. Sums over replicas are the same for all objectives; additions of a case are most visible without rounding errors.
CASES = {
    "pixpro_float32": (_PIXPRO, "float32"),
    "pixpro_float64": (_PIXPRO, "float64"),
    "contrast_float64": (_CONTRAST, "float64"),
    "accumulated_float64": (_ACCUMULATED, "float64"),
    "accumulated_contrast_float64": (_CONTRAST | _ACCUMULATED, "float64"),
}


def main(strategy_name, num_devices, cases, photos, folder):
    strategy = make_strategy(strategy_name, num_devices=int(num_devices))
    for case in cases.split(","):
        flags, precision = CASES[case]
        config = Config(
            dataset=f"folder:{photos}",
            strategy=strategy_name,
            num_devices=int(num_devices),
            image_size=64,
            batch_size=16,
            augmentation="none",
            backbone="resnet10w0.5",
            projector_hidden=64,
            projector_dim=32,
            ema_momentum=0.9,
            **flags,
        )
        losses, weights = train(config, strategy, precision)
        if is_chief(strategy):
            np.savez(pathlib.Path(folder) / f"{case}.npz", losses=losses, **weights)


def train(config, strategy, precision):
    source = sources.open_source(config.dataset, data_dir="", split="", shuffle_buffer=1)
    tf.keras.utils.set_random_seed(1)
    with strategy.scope():
        model = build.build_model(config, total_steps=20, policy=precision)
        optimizer = LARS(WarmupCosine(0.1, 2, 20))
        model.compile(optimizer=optimizer, jit_compile=False)
    losses = []
    log = tf.keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: losses.append(logs["loss"])
    )
    dataset = inputs.distributed_dataset(config, source, strategy, 0)
    model.fit(dataset, steps_per_epoch=STEPS, callbacks=[log], verbose=0)
    return losses, names.state_dict(model)


if __name__ == "__main__":
    main(*sys.argv[1:])
