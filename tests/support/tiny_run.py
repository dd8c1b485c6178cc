"""Run that takes seconds: its flags and images, and how its results are read; the soak benchmark trains it, too."""

import json

import numpy as np
from PIL import Image

# 6 epochs of 10 steps.
STEPS = 60
FLAGS = (
    "--augmentation=none",
    "--backbone=resnet10w0.5",
    "--image_size=32",
    "--output_stride=16",
    "--projector_hidden=64",
    "--projector_dim=32",
    "--batch_size=8",
    "--steps_per_epoch=10",
    "--epochs=6",
    "--warmup_epochs=1",
    "--log_every=5",
    "--pictures_every=1000",
)


def write_photos(folder):
    """Writes 48 small JPEG files with smooth, distinct content."""
    rng = np.random.default_rng(0)
    for index in range(48):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        coarse.resize((80, 60), Image.Resampling.BICUBIC).save(folder / f"{index:02d}.jpg")


def weights_of(run_dir, step=STEPS):
    # Processes that only start runs do not need TensorFlow.
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(run_dir / "checkpoints" / f"step-{step}"))
    return {
        name: reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
        if name.endswith("VARIABLE_VALUE") and "save_counter" not in name
    }


def metrics_of(run_dir):
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
