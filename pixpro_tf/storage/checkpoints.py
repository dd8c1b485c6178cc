"""Checkpoints of a run: written completely or not at all; the last few are kept, and some are kept permanently."""

import concurrent.futures
import contextlib
import os
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from pixpro_tf.errors import RunError, first_line, listed
from pixpro_tf.pixpro import PixPro
from pixpro_tf.storage import checkpoint_files
from pixpro_tf.storage.checkpoint_files import KEPT, UNREADABLE

# TensorFlow's file system in the memory of this process.
_MEMORY = "ram://checkpoints"
DIVERGED = (
    "start a new run with another --run_dir and a lower --base_lr or more --warmup_epochs (instead of --precision=float16, use bfloat16); "
    "checkpoints that were saved before are not affected, so --init_from can start from them"
)


def parts_of(model: PixPro) -> dict[str, tf.keras.layers.Layer]:
    """Returns the parts of the model that have weights, keyed by their names in a checkpoint."""
    networks = {"online": model.online, "target": model.target}
    return networks | {objective.name: objective for objective in model.objectives}


def checkpoint_of(model: PixPro) -> tf.train.Checkpoint:
    """Returns a checkpoint of all that a run needs to resume: the model's parts, and the optimizer with its slots and step."""
    return tf.train.Checkpoint(**parts_of(model), optimizer=model.optimizer)


def save_weights(parts: dict[str, Any], folder: str) -> None:
    """Writes a checkpoint that contains weights only, from which training cannot be resumed.

    Args:
        parts: "online" and "target", each an `Encoder` or a checkpoint with a backbone, and any other parts.
        folder: folder of the checkpoints.
    """
    path = os.path.join(folder, "imported-0")
    tf.train.Checkpoint(**parts).write(path)
    checkpoint_files.list_for_tensorflow(folder, [path])


def restore_part(checkpoint: str, name: str, part: tf.keras.layers.Layer) -> None:
    """Restores one part of a checkpoint.

    Args:
        checkpoint: path of the checkpoint.
        name: path of attributes from the root of the checkpoint, e.g. "online/backbone".
        part: layer to restore; its variables must exist.

    Raises:
        RunError: if the checkpoint cannot be read, does not contain the part, or contains a different one.
    """
    root: tf.train.Checkpoint | tf.keras.layers.Layer = part
    for attribute in reversed(name.split("/")):
        root = tf.train.Checkpoint(**{attribute: root})
    try:
        root.read(checkpoint).expect_partial().assert_existing_objects_matched()
    except UNREADABLE as error:
        others = checkpoint_files.checkpoints_beside(checkpoint)
        advice = f"; use another checkpoint, such as {others[0]}" if others else ""
        raise RunError(
            f"{name} cannot be restored from {checkpoint}: {first_line(error)}{advice}"
        ) from error


class CheckpointStore:
    """Saves and restores the checkpoints of a run.

    The files decide which checkpoints exist. TensorFlow writes the index of a checkpoint last, so a checkpoint without an index does not
    count; `restore` skips checkpoints that were damaged later, and restores the newest readable one.

    Args:
        folder: folder of the checkpoints.
        model: compiled model.
        keep: number of most recent checkpoints to keep.
        keep_every_steps: checkpoints of steps divisible by this number are kept permanently, under `kept/`; 0 keeps none.
        chief: whether this process writes checkpoints.
        background: whether a thread writes the files while training continues; the checkpoint takes memory of this machine meanwhile. Not
            possible if the variables are on a remote machine, which has memory of its own.

    Attributes:
        latest: path of the checkpoint that was restored or completely written last; None before either.
        damaged: paths of the newer checkpoints that `restore` skipped, with the reason for each.
    """

    def __init__(
        self,
        folder: str,
        model: PixPro,
        keep: int = 3,
        keep_every_steps: int = 0,
        chief: bool = True,
        background: bool = False,
    ) -> None:
        self._folder = folder.rstrip("/")
        self._model = model
        self._keep = keep
        self._keep_every_steps = keep_every_steps
        self._chief = chief
        self._checkpoint = checkpoint_of(model)
        # Otherwise TensorFlow creates this variable at the first save: inside `fit` all workers must take part in that, but only one saves.
        self._save_counter = self._checkpoint.save_counter
        # Python waits for the threads of a pool before it exits.
        self._writer = concurrent.futures.ThreadPoolExecutor(1) if background else None
        self._writing: concurrent.futures.Future[None] | None = None
        self._warned: set[str] = set()
        self.latest: str | None = None
        self.damaged: dict[str, str] = {}

    def restore(self) -> int:
        """Restores the newest readable checkpoint, if the folder contains any, and returns the step of the model.

        Raises:
            RunError: if there are checkpoints but none of them can be read, or the newest readable one does not fit the model.
        """
        path, self.damaged = checkpoint_files.newest_readable(self._folder)
        if path is None:
            self._refuse_what_is_left()
        else:
            try:
                self._checkpoint.restore(path).assert_existing_objects_matched()
            except UNREADABLE as error:
                raise RunError(
                    f"{path} is not a checkpoint of this run: {first_line(error)}; use another --run_dir"
                ) from error
            self.latest = path
        return self._model.finished_steps

    def _refuse_what_is_left(self) -> None:
        """Raises `RunError` if the folder contains the remains of a run: they may be worth repairing, so no new run starts in it."""
        problems = [f"{path} is damaged ({reason})" for path, reason in self.damaged.items()]
        problems += [
            f"{path} belongs to a checkpoint whose index is missing"
            for path in checkpoint_files.left_over_files(self._folder)
        ]
        if problems:
            raise RunError(
                f"no checkpoint in {self._folder} can be read: {listed(problems, 3)}; "
                "restore the files from a copy, or start a new run with another --run_dir"
            )

    def save(self) -> None:
        """Saves the model at its current step, unless that step has already been saved; does nothing in a process that does not write.

        In the background, the values are those of this moment, and the checkpoint counts once its files are complete.

        Raises:
            RunError: if the weights are not finite, or this or the previous checkpoint cannot be written; older checkpoints are kept.
        """
        if not self._chief:
            return
        self.wait()
        step = self._model.finished_steps
        if self.latest == self._path(step):
            return
        # The loss is checked only every few steps: without this check, a run could resume from weights that have diverged.
        if not all(bool(tf.reduce_all(tf.math.is_finite(v))) for v in self._model.weights):
            raise RunError(f"the weights are not finite at step {step}; {DIVERGED}")
        self._save_counter.assign_add(1)
        if self._writer is None:
            self._write(step)
            return
        held = f"{_MEMORY}/{id(self)}-/step-{step}"
        with _reporting(step):
            self._checkpoint.write(held)
        self._writing = self._writer.submit(self._write_and_free, step, held)

    def wait(self, seconds: float | None = None) -> None:
        """Waits until the last checkpoint has been written.

        Args:
            seconds: time after which this method gives up; None waits without a limit.

        Raises:
            RunError: if it cannot be written.
        """
        if self._writing is not None:
            writing, self._writing = self._writing, None
            with contextlib.suppress(concurrent.futures.TimeoutError):
                writing.result(seconds)

    def check(self) -> None:
        """Raises the error of a checkpoint that could not be written in the background; does not wait."""
        if self._writing is not None and self._writing.done():
            self.wait()

    def keeps(self, step: int) -> bool:
        """Returns whether the checkpoint of a step is kept permanently."""
        return bool(self._keep_every_steps) and step % self._keep_every_steps == 0

    def _path(self, step: int) -> str:
        return os.path.join(self._folder, f"step-{step}")

    def _write(self, step: int, held: str | None = None) -> None:
        """Writes the files of the checkpoint of a step.

        Args:
            step: step of the checkpoint.
            held: path of the checkpoint in memory; None writes the model's present values.
        """
        path = self._path(step)
        with _reporting(step):
            kept = os.path.join(self._folder, KEPT, f"step-{step}")
            # The permanent one first: the other one makes this step the newest, which is not saved again.
            for written in [kept, path] if self.keeps(step) else [path]:
                tf.io.gfile.makedirs(os.path.dirname(written))
                if held is None:
                    self._checkpoint.write(written)
                    checkpoint_files.sync(written)
                else:
                    checkpoint_files.copy(held, written)
            self.damaged.pop(path, None)
            self._forget_old_ones()
        self.latest = path

    def _write_and_free(self, step: int, held: str) -> None:
        try:
            self._write(step, held)
        finally:
            checkpoint_files.delete(held)

    def _forget_old_ones(self) -> None:
        """Deletes all but the last few checkpoints; damaged ones do not count and are kept.

        The new checkpoint is complete, so a failure here does not end the run.
        """
        folders: dict[str, list[str]] = {self._folder: []}
        for path in checkpoint_files.checkpoints_in(self._folder):
            if path not in self.damaged:
                folders.setdefault(os.path.dirname(path), []).append(path)
        for path in folders[self._folder][self._keep :]:
            with self._tidying():
                checkpoint_files.delete(path)
        del folders[self._folder][self._keep :]
        with self._tidying():
            for folder, newest_first in folders.items():
                checkpoint_files.list_for_tensorflow(folder, newest_first[::-1])
            checkpoint_files.delete_incomplete_files(self._folder)

    @contextlib.contextmanager
    def _tidying(self) -> Iterator[None]:
        """Turns a failed write or deletion into a warning, once for each reason."""
        try:
            yield
        except (tf.errors.OpError, OSError) as error:
            reason = first_line(error)
            if reason not in self._warned:
                self._warned.add(reason)
                print(f"warning: old checkpoints are not cleaned up: {reason}; the run continues")


@contextlib.contextmanager
def _reporting(step: int) -> Iterator[None]:
    """Reports failed writes as such."""
    try:
        yield
    except (tf.errors.OpError, OSError) as error:
        raise RunError(
            f"the checkpoint of step {step} could not be written: {first_line(error)}; "
            "the run resumes from the previous checkpoint when it is restarted"
        ) from error
