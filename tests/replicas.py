"""Five steps of a small model under a strategy, in both precisions, for `test_replicas.py`; writes the weights.

    python -m tests.replicas STRATEGY NUM_DEVICES OBJECTIVES PHOTOS FOLDER

With `multi_worker`, TF_CONFIG says which worker this is; worker 0 writes.
"""

import pathlib
import sys

import pixpro_tf  # noqa: F401  isort: skip

import numpy as np
import tensorflow as tf

from pixpro_tf import pixpro, training
from pixpro_tf.config import Config
from pixpro_tf.data import sources
from pixpro_tf.interop import torch as names
from pixpro_tf.optimizers.lars import LARS
from pixpro_tf.optimizers.schedules import WarmupCosine
from pixpro_tf.strategy import is_chief, make_strategy

STEPS = 5


# The replicas' sums are the same for all objectives; what the second adds shows best without rounding.
PRECISIONS = {
    "pixpro": ("float32", "float64"),
    "contrast": ("float64",),
    "accumulated": ("float64",),
}
OBJECTIVES = {
    "pixpro": {"ppm_layers": 2, "instance_weight": 0.5},
    "contrast": {
        "pixel_loss": "pixcontrast",
        "instance_weight": 1.0,
        "instance_loss": "contrastive",
    },
    "accumulated": {"gradient_accumulation": 2},
}


def main(strategy_name, num_devices, objectives, photos, folder):
    config = Config(
        dataset=f"folder:{photos}",
        strategy=strategy_name,
        num_devices=int(num_devices),
        image_size=64,
        batch_size=16,
        augmentation="none",
        backbone="resnet10",
        projector_hidden=64,
        projector_dim=32,
        ema_momentum=0.9,
        **OBJECTIVES[objectives],
    )
    strategy = make_strategy(config.strategy, num_devices=config.num_devices)
    source = sources.open_source(config.dataset, data_dir="", split="", shuffle_buffer=1)
    for precision in PRECISIONS[objectives]:
        losses, weights = train(config, strategy, source, precision)
        if is_chief(strategy):
            np.savez(pathlib.Path(folder) / f"{precision}.npz", losses=losses, **weights)


def train(config, strategy, source, precision):
    tf.keras.utils.set_random_seed(1)
    tf.keras.mixed_precision.set_global_policy(precision)
    with strategy.scope():
        model = pixpro.from_config(config, total_steps=20)
        optimizer = LARS(WarmupCosine(0.1, 2, 20))
        model.compile(optimizer=optimizer, jit_compile=False)
    losses = []
    log = tf.keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: losses.append(logs["loss"])
    )
    dataset = training.distributed_dataset(config, source, strategy, 0)
    model.fit(dataset, steps_per_epoch=STEPS, callbacks=[log], verbose=0)
    return losses, names.state_dict(model)


if __name__ == "__main__":
    main(*sys.argv[1:])
