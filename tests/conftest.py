"""Before TensorFlow is imported: quiet logs, one set of kernels, and Keras 2."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# The same kernels on every processor: oneDNN chooses its own by the processor's instructions, and in float32 the second step of a
# comparison depends on which rounding sends a channel over the kink of a ReLU.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import pixpro_tf  # noqa: F401  isort: skip

import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def float32_policy():
    """A test that sets another precision leaves none of it behind."""
    yield
    tf.keras.mixed_precision.set_global_policy("float32")


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """A folder of 48 small JPEG files with smooth, distinct content."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for index in range(48):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        coarse.resize((80, 60), Image.Resampling.BICUBIC).save(folder / f"{index:02d}.jpg")
    return folder


@pytest.fixture(scope="session")
def scenes_dir(tmp_path_factory):
    """Where TFDS keeps `scenes`, which the first test that asks for them builds."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def train():
    """Runs `train.py` with flags in a process of its own; returns the finished process."""

    def run(*flags, check=True, **kwargs):
        process = subprocess.run(
            [sys.executable, str(ROOT / "train.py"), *flags],
            capture_output=True,
            text=True,
            timeout=600,
            **kwargs,
        )
        if check:
            assert process.returncode == 0, process.stdout + process.stderr
        return process

    return run


@pytest.fixture(scope="session")
def tiny_flags(photos):
    """Flags of a run that takes seconds, without its folder: 6 epochs of 10 steps."""
    return (
        f"--dataset=folder:{photos}",
        "--augmentation=none",
        "--backbone=resnet10",
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


@pytest.fixture(scope="session")
def whole_run(train, tiny_flags, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("runs") / "whole"
    process = train(*tiny_flags, f"--run_dir={run_dir}", "--checkpoint_every=7", "--keep_every=4")
    return run_dir, process.stdout
