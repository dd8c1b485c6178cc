"""Compiled training step for accelerators: it contains no operation that only a host can perform."""

import re

import numpy as np
import pytest

import pixpro_tf  # noqa: F401 - chooses Keras 2, so it comes before TensorFlow

# isort: split
import tensorflow as tf

from pixpro_tf import build
from pixpro_tf.config import Config
from tests.support.models import SMALL

FORBIDDEN = {
    "float64": r"\bf64\[",
    "a size that is known only at run time": r"\[[^\]]*<=",
    "a call outside the program": r"\b(custom-call|infeed|outfeed|send|recv|send-done|recv-done)\(",
}


def compiled_step(**flags):
    """Returns the XLA program of a whole step as TensorFlow emits it, before it is compiled for a specific device."""
    config = Config(
        backbone="resnet10w0.5", batch_size=4, jit="step", augment_on="device", **(SMALL | flags)
    )
    tf.keras.utils.set_random_seed(0)
    rate = build.build_schedule(config, steps_per_epoch=2)
    model = build.build_compiled_model(config, rate, total_steps=10)
    views = {
        name: tf.zeros([4, config.image_size, config.image_size, 3], tf.uint8)
        for name in ("view_1", "view_2")
    }
    boxes = {
        name: tf.constant(np.tile([0, 0, 1, 1], (4, 1)), tf.float32) for name in ("box_1", "box_2")
    }
    batch = views | boxes | {"seed": tf.zeros([4, 2], tf.int32)}
    step = tf.function(model.train_step, jit_compile=True)
    return step.experimental_get_compiler_ir(batch)(stage="hlo")


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        {"precision": "bfloat16", "augmentation": "byol"},
        {"augmentation": "rand_augment", "instance_weight": 1.0, "instance_loss": "contrastive"},
        {"augmentation": "none", "pixel_loss": "pixcontrast", "pixel_levels": "p3,p4"},
    ],
    ids=["pixpro", "instance", "fpn"],
)
def test_step_contains_no_host_operations(flags):
    program = compiled_step(**flags)
    assert "ENTRY" in program and "convolution(" in program
    assert ("bf16[" in program) == (flags.get("precision") == "bfloat16")
    for what, pattern in FORBIDDEN.items():
        found = [line.strip() for line in program.splitlines() if re.search(pattern, line)]
        assert not found, (what, found[:3])


@pytest.mark.parametrize(
    ("what", "function"),
    [
        ("float64", lambda values: tf.cast(values, tf.float64) * 2),
        ("a size that is known only at run time", lambda values: tf.where(values > 0)),
        ("a call outside the program", lambda values: tf.linalg.qr(values[None] * values[:, None])),
    ],
)
def test_check_detects_forbidden_operations(what, function):
    program = tf.function(function, jit_compile=True).experimental_get_compiler_ir(tf.ones([5]))
    assert re.search(FORBIDDEN[what], program(stage="hlo"))
