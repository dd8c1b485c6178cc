"""A trained network from the folder of its run, as exports and evaluations take it."""

import os

import tensorflow as tf

from pixpro_tf import pixpro
from pixpro_tf.backbones import resnet
from pixpro_tf.checkpoints import parts_of
from pixpro_tf.config import Config
from pixpro_tf.errors import RunError, first_line
from pixpro_tf.run_folder import RunFolder, read_config

NETWORKS = ("online", "target")


def find_checkpoint(path: str) -> str | None:
    """The newest checkpoint of a run's folder, of a folder of checkpoints, or the checkpoint itself; None if there is none."""
    path = os.path.expanduser(path)
    for folder in (os.path.join(path, "checkpoints"), path):
        latest = tf.train.latest_checkpoint(folder)
        if latest is not None:
            return latest
    prefix = path.removesuffix(".index")
    return prefix if tf.io.gfile.exists(f"{prefix}.index") else None


def require_checkpoint(run: str) -> str:
    """The newest checkpoint of a run.

    Raises:
        RunError: if it has none.
    """
    checkpoint = find_checkpoint(run)
    if checkpoint is None:
        raise RunError(f"{run} holds no checkpoint; train the run until it has written one")
    return checkpoint


def load_backbone(run: str, network: str = "online") -> tuple[resnet.ResNet, Config]:
    """A run's backbone, in float32, and the run's configuration.

    Args:
        run: the run's folder.
        network: "online" or "target".

    Raises:
        RunError: if there is no run, no checkpoint, or the checkpoint lacks the network or cannot be read.
    """
    config, checkpoint = _open(run)
    backbone = resnet.build(config.backbone, config.backbone_layout, config.output_stride)
    restore_part(checkpoint, f"{network}/backbone", backbone)
    return backbone, config


def load_pixpro(run: str) -> tuple[pixpro.PixPro, Config]:
    """A run's whole model, in float32, not compiled, and the run's configuration; arguments and errors as of `load_backbone`."""
    config, checkpoint = _open(run)
    # No steps: this model has its weights, and no schedule to train by.
    model = pixpro.from_config(config, total_steps=1)
    for name, part in parts_of(model).items():
        restore_part(checkpoint, name, part)
    return model, config


def restore_part(checkpoint: str, name: str, part: tf.keras.layers.Layer) -> None:
    """Restores one part of a run's checkpoint.

    Args:
        checkpoint: path of it.
        name: attributes from the checkpoint's root down, as "online/backbone".
        part: whose variables exist.

    Raises:
        RunError: if the part is not in it, or differs, or it cannot be read.
    """
    root: tf.train.Checkpoint | tf.keras.layers.Layer = part
    for attribute in reversed(name.split("/")):
        root = tf.train.Checkpoint(**{attribute: root})
    try:
        root.read(checkpoint).expect_partial().assert_existing_objects_matched()
    except (tf.errors.OpError, ValueError, AssertionError) as error:
        raise RunError(f"{checkpoint} gives no {name}: {first_line(error)}") from error


def read_run_config(run: str) -> Config:
    """A run's configuration.

    Raises:
        RunError: if it is missing or damaged, or the run has no checkpoint.
    """
    require_checkpoint(run)
    return read_config(RunFolder(os.path.expanduser(run)))


def _open(run: str) -> tuple[Config, str]:
    return read_run_config(run), require_checkpoint(run)
