"""Run on disk: its configuration, checkpoint and progress."""

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
    rf"/checkpoints(/{checkpoint_files.KEPT})?(/{checkpoint_files.NAME}(\.{checkpoint_files.SUFFIX})?)?$"
)


AnyRun = TypeVar("AnyRun", bound="Run")


@dataclasses.dataclass(frozen=True)
class Progress:
    """Progress of a run; both attributes are None for imported weights, which do not belong to a run of this project.

    Attributes:
        step: number of completed steps.
        total_steps: number of steps of the whole run.
    """

    step: int | None
    total_steps: int | None

    def require_finished(self, name: str) -> None:
        """Raises `RunError` if a run has not completed all its steps.

        Until then, its learning rate and EMA momentum have not reached their final values.

        Args:
            name: name of the run for the message.
        """
        if self.step is None or self.total_steps is None:
            return
        if self.step < self.total_steps:
            raise RunError(
                f"{name} has completed {self.step} of its {self.total_steps} steps; finish the training, "
                "or use it as it is with --allow_unfinished"
            )


@dataclasses.dataclass(frozen=True)
class Run:
    """Run or imported weights on disk.

    Attributes:
        name: path with which the run was opened.
        folder: paths of the run's files.
        checkpoint: path of the newest checkpoint, or of the one with which the run was opened.
        config: configuration of the run.
        description: content of the run's `config.json`.
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
            path: path of the run folder, of its `checkpoints`, or of one of them, e.g. `runs/mine/checkpoints/kept/step-500`.

        Raises:
            RunError: if the run does not exist, has no checkpoint, or its configuration is missing or damaged.
        """
        checkpoint = checkpoint_files.find_checkpoint(path)
        if checkpoint is None:
            if not _exists(path):
                raise RunError(f"{path} does not exist; use the path of an existing run")
            raise RunError(
                f"{path} does not contain a checkpoint; train the run until it has saved one"
            )
        folder = _folder_of(path)
        return cls(path, folder, checkpoint, read_config(folder), read_description(folder))

    @property
    def progress(self) -> Progress:
        """Progress of the run; the step is read from the checkpoint.

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
        """Returns the whole model in float32, not compiled and not meant for training.

        Raises:
            RunError: if the checkpoint lacks a part of the model or cannot be read.
        """
        # The number of steps does not matter: this model has trained weights and does not follow a schedule.
        config = dataclasses.replace(self.config, jit="off")
        model = build_model(config, total_steps=1, policy="float32")
        for name, part in parts_of(model).items():
            restore_part(self.checkpoint, name, part)
        return model


def is_run(path: str) -> bool:
    """Returns whether a path is that of a run or is inside one.

    Raises:
        RunError: if the file system cannot be reached.
    """
    if hub_handles.is_hub_address(path):
        return False
    with reached(path):
        return tf.io.gfile.exists(_folder_of(path).config)


def _exists(path: str) -> bool:
    if hub_handles.is_hub_address(path):
        return False
    with reached(path):
        return tf.io.gfile.exists(checkpoint_files.located(path))


def _folder_of(path: str) -> RunFolder:
    """Returns the run folder for the path of a run, of its `checkpoints`, or of one of them."""
    path = checkpoint_files.located(path)
    places = [path]
    # A link may lead into a run, and the checkpoints of a run may be a link that leads out of it.
    if "://" not in path:
        places.append(os.path.realpath(path))
    for place in places:
        # A run may have the name `checkpoints`, too.
        for folder in (RunFolder(place), RunFolder(_IN_A_RUN.sub("", place))):
            if tf.io.gfile.exists(folder.config):
                return folder
    return RunFolder(_IN_A_RUN.sub("", path))
