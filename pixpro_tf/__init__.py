"""PixPro in TensorFlow: dense self-supervised pre-training of visual backbones.

    import pixpro_tf  # before tensorflow, on Python 3.12 and newer

    run = pixpro_tf.pretrain("folder:photos", "runs/mine", flagfile="own_images")
    run.export_savedmodel("exported/mine")
    layer = pixpro_tf.load_backbone("exported/mine", trainable=True)

The names below are the public interface. Each is imported on first use, because most of them import TensorFlow.
"""

import importlib
from typing import TYPE_CHECKING

from pixpro_tf import keras2 as _keras2
from pixpro_tf._version import __version__

if TYPE_CHECKING:
    from pixpro_tf.build import build_model, build_objectives, build_optimizer
    from pixpro_tf.config import Config
    from pixpro_tf.errors import ConfigError, RunError, UserError
    from pixpro_tf.objectives.base import Objective, View
    from pixpro_tf.objectives.consistency import PixelConsistency
    from pixpro_tf.objectives.contrast import PixelContrast
    from pixpro_tf.objectives.instance import InstanceContrast, InstanceRegression
    from pixpro_tf.optimizers.lars import LARS
    from pixpro_tf.pixpro import PixPro
    from pixpro_tf.pretraining import Run, pretrain
    from pixpro_tf.storage.saved_model import load_backbone
    from pixpro_tf.training.inputs import training_dataset

_MODULES = {
    "Config": "config",
    "ConfigError": "errors",
    "InstanceContrast": "objectives.instance",
    "InstanceRegression": "objectives.instance",
    "LARS": "optimizers.lars",
    "Objective": "objectives.base",
    "PixPro": "pixpro",
    "PixelConsistency": "objectives.consistency",
    "PixelContrast": "objectives.contrast",
    "Run": "pretraining",
    "RunError": "errors",
    "UserError": "errors",
    "View": "objectives.base",
    "build_model": "build",
    "build_objectives": "build",
    "build_optimizer": "build",
    "load_backbone": "storage.saved_model",
    "pretrain": "pretraining",
    "training_dataset": "training.inputs",
}

__all__ = [
    "LARS",
    "Config",
    "ConfigError",
    "InstanceContrast",
    "InstanceRegression",
    "Objective",
    "PixPro",
    "PixelConsistency",
    "PixelContrast",
    "Run",
    "RunError",
    "UserError",
    "View",
    "__version__",
    "build_model",
    "build_objectives",
    "build_optimizer",
    "load_backbone",
    "pretrain",
    "training_dataset",
]

_keras2.select_keras_2()


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
