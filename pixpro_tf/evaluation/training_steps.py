"""Training steps of an evaluation, with progress lines; interrupted, they continue where they stopped."""

import contextlib
import itertools
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import tensorflow as tf

from pixpro_tf.cli import interruptions
from pixpro_tf.data.progress import Progress
from pixpro_tf.errors import RunError, first_line, is_of_full_disk
from pixpro_tf.storage import checkpoint_files

_SECONDS_BETWEEN_CHECKPOINTS = 120
# Reading the loss waits for the device.
_STEPS_BETWEEN_CHECKS = 50


class DivergedError(RunError):
    """Training whose loss is not finite any more; scores would look like those of poor features."""


def run(
    step: Callable[..., tf.Tensor],
    batches: Iterable[Any],
    steps: int,
    trained: Mapping[str, Any],
    folder: str = "",
    print_line: Callable[[str], None] = print,
) -> None:
    """Performs the training steps that a former call with the same arguments has not performed yet.

    Args:
        step: function that trains on a batch and returns the loss; a batch that is a tuple is passed as several arguments.
        batches: `steps` or more batches, always in the same order.
        steps: number of steps, at least 1.
        trained: objects that the steps change, such as the model and the optimizer, by name.
        folder: folder of the checkpoints from which an interrupted call continues; empty writes none.
        print_line: function that prints a line about the progress.

    Raises:
        DivergedError: if the loss is not finite.
        RunError: if a checkpoint cannot be written.
    """
    done, loss = tf.Variable(0, dtype=tf.int64), tf.Variable(0.0)
    checkpoint = tf.train.Checkpoint(done=done, loss=loss, **trained)
    if folder:
        latest, damaged = checkpoint_files.newest_readable(folder)
        for path, reason in damaged.items():
            print_line(f"{path} is damaged ({reason}), so its steps are repeated")
        if latest is not None:
            checkpoint.read(latest).assert_consumed()
            print_line(f"Continuing after step {int(done)} of {steps}")
    first, last_saved = int(done), time.monotonic()
    progress = Progress(steps, "steps", first, print_line)

    def check() -> None:
        value = float(loss)
        if not math.isfinite(value):
            raise DivergedError(
                f"training diverged: the loss is {value} after step {int(done)} of {steps}; use a lower --rate (--rates with dense)"
            )

    def save() -> None:
        check()
        if not folder:
            return
        path = os.path.join(folder, f"step-{int(done)}")
        try:
            checkpoint.write(path)
            checkpoint_files.sync(path)
            # Not by their numbers: a damaged checkpoint of a later step may be among them.
            for other in checkpoint_files.checkpoints_beside(path):
                checkpoint_files.delete(other)
        except (OSError, tf.errors.OpError) as error:
            advice = "free some space" if is_of_full_disk(error) else "make it writable"
            raise RunError(
                f"{folder} cannot be written: {first_line(error)}; {advice}, then run the same command again to continue"
            ) from error

    try:
        # Passing over batches takes as long as reading them.
        for batch in itertools.islice(batches, first, steps) if first < steps else ():
            # An interruption between the update and the count would let the step be repeated.
            with interruptions.postponed():
                loss.assign(step(*batch) if isinstance(batch, tuple) else step(batch))
                done.assign_add(1)
            progress.add(1)
            if int(done) % _STEPS_BETWEEN_CHECKS == 0:
                check()
            if time.monotonic() - last_saved > _SECONDS_BETWEEN_CHECKPOINTS:
                save()
                last_saved = time.monotonic()
    except KeyboardInterrupt:
        # Of weights that have diverged, nothing is saved; the interruption counts more than that.
        with contextlib.suppress(DivergedError):
            save()
        raise
    if int(done) > first:
        save()
