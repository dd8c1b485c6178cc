"""Layers, objectives, optimizers and schedules are rebuilt from their configurations without `custom_objects`."""

import importlib
import pkgutil

import pytest
import tensorflow as tf

from pixpro_tf import build
from pixpro_tf.config import Config
from pixpro_tf.optimizers.lamb import LAMB
from pixpro_tf.optimizers.lars import LARS, MomentumSGD
from pixpro_tf.optimizers.schedules import WarmupCosine, WarmupSteps

PACKAGES = ("backbones", "layers", "objectives", "optimizers")
# Base classes of others.
ABSTRACT = {"Objective", "PixelObjective", "InstanceObjective", "_WarmupSchedule"}
SMALL = {
    "backbone": "resnet10w0.5",
    "image_size": 64,
    "projector_hidden": 16,
    "projector_dim": 8,
}


def classes():
    """Yields the classes of the project."""
    for name in PACKAGES:
        package = importlib.import_module(f"pixpro_tf.{name}")
        for info in pkgutil.iter_modules(package.__path__, f"pixpro_tf.{name}."):
            module = importlib.import_module(info.name)
            for found in vars(module).values():
                if isinstance(found, type) and found.__module__ == info.name:
                    yield found


def is_configured(found):
    """Returns whether a class, or a class of the project that it derives from, defines `get_config`."""
    ours = [base for base in found.__mro__ if base.__module__.startswith("pixpro_tf")]
    return any("get_config" in vars(base) for base in ours)


CONFIGURED = [
    found for found in classes() if is_configured(found) and found.__name__ not in ABSTRACT
]


def objects():
    for flags in (
        {"pixel_levels": "p3,p4,p5", "fpn_channels": 8, "dense_head_layers": 1}
        | {"instance_weight": 1.0},
        {"backbone": "resnet18d", "pixel_loss": "pixcontrast"}
        | {"instance_weight": 1.0, "instance_loss": "contrastive"},
    ):
        model = build.build_model(Config(**(SMALL | flags)), total_steps=2)
        yield from model.submodules
    schedule = WarmupCosine(0.1, 2, 10)
    yield from (
        schedule,
        WarmupSteps(0.1, 2, [4, 6]),
        LARS(schedule),
        MomentumSGD(schedule),
        LAMB(schedule),
    )


@pytest.mark.parametrize("configured", CONFIGURED, ids=lambda found: found.__name__)
def test_class_is_registered_under_name_of_package(configured):
    name = f"pixpro_tf>{configured.__name__}"
    assert tf.keras.utils.get_registered_name(configured) == name
    assert tf.keras.utils.get_registered_object(name) is configured


def test_objects_are_rebuilt_by_registered_name():
    seen = set()
    for each in objects():
        kind = type(each)
        if kind in seen or kind not in CONFIGURED:
            continue
        seen.add(kind)
        copy = tf.keras.utils.deserialize_keras_object(tf.keras.utils.serialize_keras_object(each))
        assert type(copy) is kind
        assert str(copy.get_config()) == str(each.get_config()), kind
    assert seen == set(CONFIGURED)
