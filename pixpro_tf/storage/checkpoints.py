"""Checkpoints of a run: written whole or not at all, the last few kept, some for good."""

import os
from typing import Any

import tensorflow as tf

from pixpro_tf.errors import RunError, first_line, listed
from pixpro_tf.pixpro import PixPro
from pixpro_tf.storage import checkpoint_files
from pixpro_tf.storage.checkpoint_files import KEPT, UNREADABLE

DIVERGED = (
    "lower --base_lr, lengthen --warmup_epochs, or with --precision=float16 try bfloat16. "
    "The last checkpoint is from before it happened"
)


def parts_of(model: PixPro) -> dict[str, tf.keras.layers.Layer]:
    """The parts that hold weights, by their names in a checkpoint."""
    networks = {"online": model.online, "target": model.target}
    return networks | {objective.name: objective for objective in model.objectives}


def checkpoint_of(model: PixPro) -> tf.train.Checkpoint:
    """All that a run needs to go on: its parts, and the optimiser with its slots and the step."""
    return tf.train.Checkpoint(**parts_of(model), optimizer=model.optimizer)


def save_weights(parts: dict[str, Any], folder: str) -> None:
    """Writes a checkpoint of weights alone, with which no training goes on.

    Args:
        parts: "online" and "target", each an `Encoder` or a checkpoint with a backbone, and what other parts there are.
        folder: of checkpoints.
    """
    path = os.path.join(folder, "imported-0")
    tf.train.Checkpoint(**parts).write(path)
    checkpoint_files.list_for_tensorflow(folder, [path])


def restore_part(checkpoint: str, name: str, part: tf.keras.layers.Layer) -> None:
    """Restores one part of a checkpoint.

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
    except UNREADABLE as error:
        raise RunError(f"{checkpoint} gives no {name}: {first_line(error)}") from error


class CheckpointStore:
    """Saves and restores a run.

    The files decide which checkpoints there are. TensorFlow writes a checkpoint's index last, so that one without it does not count;
    one that was damaged later is passed over for the newest that can be read.

    Args:
        folder: for the checkpoints.
        model: compiled model.
        keep: how many of the last ones stay.
        keep_every_steps: those of steps divisible by this stay for good, under `kept/`; 0 is none.
        chief: whether this process writes.

    Attributes:
        latest: path of the checkpoint that was restored or saved last; None before either.
        damaged: paths of the newer ones that `restore` passed over, with the reason for each.
    """

    def __init__(
        self,
        folder: str,
        model: PixPro,
        keep: int = 3,
        keep_every_steps: int = 0,
        chief: bool = True,
    ) -> None:
        self._folder = folder.rstrip("/")
        self._model = model
        self._keep = keep
        self._keep_every_steps = keep_every_steps
        self._chief = chief
        self._checkpoint = checkpoint_of(model)
        # TensorFlow makes this variable at the first save otherwise: inside `fit` that takes all workers, and one process saves.
        self._save_counter = self._checkpoint.save_counter
        self.latest: str | None = None
        self.damaged: dict[str, str] = {}

    def restore(self) -> int:
        """Restores the newest checkpoint that can be read, if there are any, and returns the step of the model.

        Raises:
            RunError: if there are some and none can be read, or one does not fit the model.
        """
        self.damaged = {}
        for path in checkpoint_files.checkpoints_in(self._folder):
            if reason := checkpoint_files.damage_of(path):
                self.damaged[path] = reason
                continue
            try:
                self._checkpoint.restore(path).assert_existing_objects_matched()
            except UNREADABLE as error:
                raise RunError(
                    f"{path} is not a checkpoint of this run: {first_line(error)}; give another --run_dir"
                ) from error
            self.latest = path
            break
        else:
            self._refuse_what_is_left()
        return self._model.finished_steps

    def _refuse_what_is_left(self) -> None:
        """A folder that held a run is not begun anew: what is in it may be worth mending."""
        problems = [f"{path} is damaged ({reason})" for path, reason in self.damaged.items()]
        problems += [
            f"{path} is left of a checkpoint whose index is missing"
            for path in checkpoint_files.left_over_files(self._folder)
        ]
        if problems:
            raise RunError(
                f"no checkpoint in {self._folder} can be read: {listed(problems, 3)}; "
                "put the files back from a copy, or begin anew with another --run_dir"
            )

    def save(self) -> str | None:
        """Saves the model's step; a step that is saved already is left alone.

        Returns:
            The path, or None in a process that does not write.

        Raises:
            RunError: if the weights are not finite, or it cannot be written; the older checkpoints stay.
        """
        if not self._chief:
            return None
        step = self._model.finished_steps
        path = os.path.join(self._folder, f"step-{step}")
        if self.latest == path:
            return path
        # The loss is looked at every few steps only: without this a run could go on from what had diverged.
        if not all(bool(tf.reduce_all(tf.math.is_finite(v))) for v in self._model.weights):
            raise RunError(f"the weights are not finite at step {step}; {DIVERGED}")
        self._save_counter.assign_add(1)
        try:
            if self.keeps(step):
                self._write(os.path.join(self._folder, KEPT, f"step-{step}"))
            # Last, for once this step is the newest it is not saved again.
            self._write(path)
            self.damaged.pop(path, None)
            self._forget_old_ones()
        except (tf.errors.OpError, OSError) as error:
            raise RunError(
                f"the checkpoint of step {step} could not be written: {first_line(error)}; "
                "the run goes on from the one before when it is started again"
            ) from error
        self.latest = path
        return path

    def keeps(self, step: int) -> bool:
        """Whether the checkpoint of a step stays for good."""
        return bool(self._keep_every_steps) and step % self._keep_every_steps == 0

    def _write(self, path: str) -> None:
        tf.io.gfile.makedirs(os.path.dirname(path))
        self._checkpoint.write(path)
        checkpoint_files.sync(path)

    def _forget_old_ones(self) -> None:
        """Deletes all but the last few; those that are damaged count as none, and stay."""
        folders: dict[str, list[str]] = {self._folder: []}
        for path in checkpoint_files.checkpoints_in(self._folder):
            if path not in self.damaged:
                folders.setdefault(os.path.dirname(path), []).append(path)
        for path in folders[self._folder][self._keep :]:
            checkpoint_files.delete(path)
        del folders[self._folder][self._keep :]
        for folder, newest_first in folders.items():
            checkpoint_files.list_for_tensorflow(folder, newest_first[::-1])
