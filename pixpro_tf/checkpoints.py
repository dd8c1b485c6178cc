"""Checkpoints of a run: written whole or not at all, the last few kept, some for good."""

import os
from typing import Any

import tensorflow as tf

from pixpro_tf.errors import RunError, first_line
from pixpro_tf.pixpro import PixPro

# What TensorFlow raises for a checkpoint that is damaged or holds something else; IndexError is of one that has been cut.
UNREADABLE = (tf.errors.OpError, ValueError, AssertionError, IndexError)
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
    checkpoint = tf.train.Checkpoint(**parts)
    tf.train.CheckpointManager(checkpoint, folder, max_to_keep=1, checkpoint_name="imported").save(
        checkpoint_number=0
    )


class CheckpointStore:
    """Saves and restores a run.

    A checkpoint counts once the folder's `checkpoint` file names it, which is replaced in one move after all else was written.

    Args:
        folder: for the checkpoints.
        model: compiled model.
        keep: how many of the last ones stay.
        keep_every_steps: those of steps divisible by this stay for good, under `kept/`; 0 is none.
        chief: whether this process writes.
    """

    def __init__(
        self,
        folder: str,
        model: PixPro,
        keep: int = 3,
        keep_every_steps: int = 0,
        chief: bool = True,
    ):
        self._model = model
        self._chief = chief
        self._checkpoint = checkpoint_of(model)
        # TensorFlow makes this variable at the first save otherwise: inside `fit` that takes all workers, and one process saves.
        assert self._checkpoint.save_counter is not None
        self._keep_every_steps = keep_every_steps
        self._recent = tf.train.CheckpointManager(
            self._checkpoint, folder, max_to_keep=keep, checkpoint_name="step"
        )
        self._kept = tf.train.CheckpointManager(
            self._checkpoint, os.path.join(folder, "kept"), max_to_keep=None, checkpoint_name="step"
        )

    @property
    def latest(self) -> str | None:
        """Path of the newest checkpoint."""
        return self._recent.latest_checkpoint

    def restore(self) -> int:
        """Restores the newest checkpoint, if there is one, and returns the step of the model.

        Raises:
            RunError: if it cannot be read.
        """
        latest = self.latest
        if latest is not None:
            try:
                self._checkpoint.restore(latest).assert_existing_objects_matched()
            except UNREADABLE as error:
                raise RunError(
                    f"{latest} cannot be restored: {first_line(error)}; delete its files and its line in "
                    f"{os.path.join(os.path.dirname(latest), 'checkpoint')} to go on from an older one"
                ) from error
        return self._model.finished_steps

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
        if self.latest is not None and self.latest.endswith(f"/step-{step}"):
            return self.latest
        # The loss is looked at every few steps only: without this a run could go on from what had diverged.
        if not all(bool(tf.reduce_all(tf.math.is_finite(v))) for v in self._model.weights):
            raise RunError(f"the weights are not finite at step {step}; {DIVERGED}")
        try:
            if self._keep_every_steps and step % self._keep_every_steps == 0:
                self._kept.save(checkpoint_number=step)
            # Last, for once this step is the newest it is not saved again.
            path = self._recent.save(checkpoint_number=step)
        except (tf.errors.OpError, OSError) as error:
            raise RunError(
                f"the checkpoint of step {step} could not be written: {first_line(error)}; "
                "the run goes on from the one before when it is started again"
            ) from error
        return path
