"""A run on disk: its configuration, its checkpoint, and how far it has come."""

import dataclasses
import os
import re
from typing import Any, TypeVar

import tensorflow as tf

from pixpro_tf.build import build_model
from pixpro_tf.config import Config
from pixpro_tf.data.pipeline import batches_per_epoch
from pixpro_tf.errors import RunError
from pixpro_tf.pixpro import PixPro
from pixpro_tf.storage import checkpoint_files, hub_handles
from pixpro_tf.storage.checkpoint_files import reached
from pixpro_tf.storage.checkpoints import parts_of, restore_part
from pixpro_tf.storage.run_folder import RunFolder, read_config, read_description

_IN_A_RUN = re.compile(
    rf"/checkpoints(/{checkpoint_files.KEPT})?(/{checkpoint_files.NAME}(\.index)?)?$"
)


AnyRun = TypeVar("AnyRun", bound="Run")


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a run has come; both are None for imported weights, which belong to no run here.

    Attributes:
        step: steps it has made.
        total_steps: steps of the whole run.
    """

    step: int | None
    total_steps: int | None

    def require_finished(self, name: str) -> None:
        """Raises `RunError` if a run has not made all its steps: before that its learning rate and momentum are not at their ends.

        Args:
            name: name of the run, for the message.
        """
        if self.step is None or self.total_steps is None:
            return
        if self.step < self.total_steps:
            raise RunError(
                f"{name} has made {self.step} of its {self.total_steps} steps; train it to its end, "
                "or take it as it is with --allow_unfinished"
            )


@dataclasses.dataclass(frozen=True)
class Run:
    """A run, or imported weights, on disk.

    Attributes:
        name: the path by which it was opened.
        folder: paths of its files.
        checkpoint: path of its newest checkpoint, or of the one by which it was opened.
        config: its configuration.
        description: content of its `config.json`.
    """

    name: str
    folder: RunFolder
    checkpoint: str
    config: Config
    description: dict[str, Any]

    @classmethod
    def open(cls: type[AnyRun], path: str) -> AnyRun:
        """Opens a run.

        Args:
            path: folder of the run, its `checkpoints`, or one of those, as `runs/mine/checkpoints/kept/step-500`.

        Raises:
            RunError: if it has no checkpoint, or its configuration is missing or damaged.
        """
        checkpoint = checkpoint_files.find_checkpoint(path)
        if checkpoint is None:
            raise RunError(f"{path} holds no checkpoint; train the run until it has written one")
        folder = _folder_of(path)
        return cls(path, folder, checkpoint, read_config(folder), read_description(folder))

    @property
    def progress(self) -> Progress:
        """How far it has come; reads the step from the checkpoint.

        Raises:
            RunError: if the checkpoint cannot be read.
        """
        num_images = self.description["num_images"]
        if num_images is None:
            return Progress(None, None)
        config = self.config
        steps = config.steps_per_epoch or batches_per_epoch(num_images, config.batch_size)
        return Progress(checkpoint_files.step_of(self.checkpoint), config.epochs * steps)

    def load_model(self) -> PixPro:
        """The whole model in float32, neither compiled nor for training.

        Raises:
            RunError: if the checkpoint lacks a part of the model or cannot be read.
        """
        # No steps: this model has its weights, and no schedule to train by.
        config = dataclasses.replace(self.config, jit="off")
        model = build_model(config, total_steps=1, policy="float32")
        for name, part in parts_of(model).items():
            restore_part(self.checkpoint, name, part)
        return model


def is_run(path: str) -> bool:
    """Whether a path is of a run, or inside one.

    Raises:
        RunError: if the file system cannot be reached.
    """
    if hub_handles.is_hub_address(path):
        return False
    with reached(path):
        return tf.io.gfile.exists(_folder_of(path).config)


def _folder_of(path: str) -> RunFolder:
    """The folder of a run, given its path, that of its `checkpoints`, or that of one of them."""
    return RunFolder(_IN_A_RUN.sub("", os.path.expanduser(path).rstrip("/")))
