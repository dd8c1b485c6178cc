"""Callbacks of a training run: progress, logs, alarms, figures, checkpoints, and a clean exit on signals."""

import contextlib
import json
import math
import signal
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from pixpro_tf.data.progress import duration
from pixpro_tf.errors import RunError
from pixpro_tf.storage.checkpoint_files import write_atomically
from pixpro_tf.storage.checkpoints import DIVERGED, CheckpointStore
from pixpro_tf.storage.run_folder import RunFolder
from pixpro_tf.training import view_pictures
from pixpro_tf.training.logs import save_figure, writing
from pixpro_tf.training.metric_names import (
    MAX_CROSS_IMAGE_COSINE,
    MAX_POSITION_SHARE,
    MIN_FEATURE_SPREAD,
    OF_SUCCESS,
    description,
    scalar_name,
)
from pixpro_tf.training.pace import Pace
from pixpro_tf.training.signals import Leaving


class StepCallback(tf.keras.callbacks.Callback):
    """Callback that counts the steps of the run, not those of one call of `fit`.

    Args:
        start_step: step at which this process begins.
    """

    # Otherwise Keras copies the logs to the host after every step, and the accelerator waits for that.
    _supports_tf_logs = True

    def __init__(self, start_step: int) -> None:
        super().__init__()
        self.start_step = start_step

    def on_train_batch_end(
        self, batch: int, logs: dict[str, tf.Tensor | float] | None = None
    ) -> None:
        self.on_step_end(self.start_step + batch + 1, logs or {})

    def on_step_end(self, step: int, logs: dict[str, tf.Tensor | float]) -> None:
        """Called after each step; `step` is the number of completed steps of the whole run."""
        raise NotImplementedError


class TrainingLog(StepCallback):
    """Writes progress lines, TensorBoard scalars and `metrics.jsonl`.

    Each value is the mean over the steps since the previous line. What cannot be written does not stop the run: lines of the metrics are kept
    until they can be written, scalars of TensorBoard are lost.

    Args:
        start_step: step at which this process starts.
        folder: run folder.
        every: number of steps between lines.
        last_step: step at which this process ends.
        steps_per_epoch, epochs, batch_size: settings of the run.
        rate: learning-rate schedule, a function of the step.
        generations: function from the step to the number of generations of the target network; see `EmaSchedule.generations`.
        print_line: function that prints a line for the user.

    Raises:
        RunError: when the loss is not finite.
    """

    def __init__(
        self,
        start_step: int,
        folder: RunFolder,
        *,
        every: int,
        last_step: int,
        steps_per_epoch: int,
        epochs: int,
        batch_size: int,
        rate: Callable,
        generations: Callable[[int], float],
        print_line: Callable[[str], None] = print,
    ) -> None:
        super().__init__(start_step)
        self._folder = folder
        self._every = every
        self._last_step = last_step
        self._steps_per_epoch = steps_per_epoch
        self._epochs = epochs
        self._batch_size = batch_size
        self._rate = rate
        self._generations = generations
        self._print = print_line
        self._pending: list[dict[str, tf.Tensor | float]] = []
        self._unwritten: list[str] = []
        # Steps whose lines are in the file; later lines are those of a run that was killed, or have been written in part.
        self._written = start_step
        self._is_clean = False
        self._writer: tf.summary.SummaryWriter | None = None
        self._seconds_per_step: float | None = None
        self._alarms: set[str] = set()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._write_lines()
        self._interval_start = time.monotonic()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._write_lines()
        if self._writer is not None:
            with writing(self._folder.tensorboard):
                self._writer.close()

    def on_step_end(self, step: int, logs: dict[str, tf.Tensor | float]) -> None:
        self._pending.append(logs)
        first = step == self.start_step + 1
        if step % self._every and step != self._last_step and not first:
            return
        values = self._means()
        if not math.isfinite(values["loss"]):
            raise RunError(f"the loss became {values['loss']} by step {step}; {DIVERGED}")
        now = time.monotonic()
        elapsed = now - self._interval_start
        self._interval_start = now
        steps = len(self._pending)
        values["learning_rate"] = float(self._rate(step - 1))
        values["target_generations"] = self._generations(step)
        # The first step is mostly compilation, so its throughput would be meaningless.
        if not first:
            self._seconds_per_step = elapsed / steps
            values["images_per_second"] = self._batch_size / self._seconds_per_step
            values["data_wait_share"] = min(values.pop("data_wait") * steps / elapsed, 1.0)
        else:
            values.pop("data_wait")
        self._pending.clear()
        self._write(step, values)
        self._print(self._line(step, values))
        self._watch(values)

    def _means(self) -> dict[str, float]:
        return {
            name: float(np.mean([float(logs[name]) for logs in self._pending]))
            for name in self._pending[0]
        }

    def _line(self, step: int, values: dict[str, float]) -> str:
        epoch = min((step - 1) // self._steps_per_epoch + 1, self._epochs)
        parts = [f"epoch {epoch}/{self._epochs}", f"step {step}/{self._last_step}"]
        if self._seconds_per_step is not None and "images_per_second" in values:
            left = (self._last_step - step) * self._seconds_per_step
            parts += [f"{values['images_per_second']:.1f} images/s", f"{duration(left)} left"]
        parts.append(f"loss {values['loss']:.4f}")
        # Only the first available measure of success is shown, also if there are several objectives.
        shown = [name for name in OF_SUCCESS if name in values][:1]
        parts += [f"{name.replace('_', ' ')} {values[name]:.4f}" for name in shown]
        return "  ".join(parts)

    def _write(self, step: int, values: dict[str, float]) -> None:
        # JSON cannot represent infinity; in float16, the gradients of a step that loss scaling skips can be infinite.
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._unwritten.append(json.dumps({"step": step, **finite}) + "\n")
        self._write_lines()
        with writing(self._folder.tensorboard):
            if self._writer is None:
                self._writer = tf.summary.create_file_writer(self._folder.events)
            with self._writer.as_default(step):
                for name, value in values.items():
                    tf.summary.scalar(scalar_name(name), value, description=description(name))
            self._writer.flush()

    def _write_lines(self) -> None:
        with writing(self._folder.metrics):
            if not self._is_clean:
                self._drop_lines_after(self._written)
            self._is_clean = not self._unwritten
            if self._unwritten:
                with tf.io.gfile.GFile(self._folder.metrics, "a") as file:
                    file.write("".join(self._unwritten))
                self._written = int(_step_of(self._unwritten[-1]))
                self._is_clean = True
                self._unwritten.clear()

    def _watch(self, values: dict[str, float]) -> None:
        collapsed = (
            values["cross_image_cosine"] > MAX_CROSS_IMAGE_COSINE
            or values["feature_spread"] < MIN_FEATURE_SPREAD
        )
        alarms = {
            "features collapse: bins of different images have a mean cosine of "
            f"{values['cross_image_cosine']:.2f}, feature spread {values['feature_spread']:.2f}": collapsed,
            "position shortcut: the position in the grid explains "
            f"{values['position_share']:.0%} of the variance": values["position_share"]
            > MAX_POSITION_SHARE,
        }
        raised = {text.split(":")[0]: text for text, holds in alarms.items() if holds}
        for kind in raised.keys() - self._alarms:
            self._print(f"alarm: {raised[kind]}")
        for kind in self._alarms - raised.keys():
            self._print(f"alarm cleared: {kind}")
        self._alarms = set(raised)

    def _drop_lines_after(self, step: int) -> None:
        """Removes the lines after a step, and damaged ones: a run that was killed may have logged steps that are now repeated."""
        if not tf.io.gfile.exists(self._folder.metrics):
            return
        with tf.io.gfile.GFile(self._folder.metrics, "rb") as file:
            lines = file.read().decode(errors="replace").splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and _step_of(line) <= step]
        if len(kept) < len(lines):
            write_atomically(self._folder.metrics, "".join(kept))


def _step_of(line: str) -> float:
    """Returns the step of a line of the metrics; infinity if the line is damaged."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError):
        return math.inf


class Pictures(StepCallback):
    """Plots pairs of views, as PNG files and in TensorBoard.

    Args:
        start_step: step at which this process starts.
        folder: run folder.
        every: number of steps between figures; another figure is plotted at the start.
        last_step: step at which this process ends.
        seconds_between: minimum number of seconds between figures; a figure that is due sooner is skipped, and another one is plotted at
            the end. 0 skips none.
        views: function that returns `(view_1, view_2, box_1, box_2)` for a step, with views in RGB in [0, 1].
        map_size, threshold: see `view_pictures.matched_views`.
    """

    def __init__(
        self,
        start_step: int,
        folder: RunFolder,
        *,
        every: int,
        last_step: int,
        seconds_between: float = 0.0,
        views: Callable[[int], tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]],
        map_size: int,
        threshold: float,
    ) -> None:
        super().__init__(start_step)
        self._folder = folder
        self._every = every
        self._last_step = last_step
        self._pace = Pace(seconds_between)
        self._views = views
        self._map_size = map_size
        self._threshold = threshold

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._draw(self.start_step)

    def on_step_end(self, step: int, logs: dict[str, tf.Tensor | float]) -> None:
        due = step % self._every == 0 and self._pace.is_due()
        if due or (self._pace.seconds and step == self._last_step):
            self._draw(step)
            self._pace.done()

    def _draw(self, step: int) -> None:
        figure = view_pictures.matched_views(*self._views(step), self._map_size, self._threshold)
        save_figure(self._folder, f"views-{step:07d}", "views", step, figure)


class Checkpoints(StepCallback):
    """Saves checkpoints regularly, and inside `catching_signals` stops cleanly on the signals of `signals.SIGNALS`.

    Args:
        start_step: step at which this process starts.
        store: store of the checkpoints.
        every: number of steps between checkpoints.
        last_step: last step, which is always saved.
        seconds_between: minimum number of seconds between checkpoints; a checkpoint that is due sooner is skipped, unless it is to be kept
            permanently.
        agree: function for several processes, which must stop after the same step: takes whether this process has received a signal, and
            returns whether any process has. It is called every `agree_every` steps.
        agree_every: number of steps between calls of `agree`; 1 for a single process.
        ends_process: see `Leaving`.
    """

    def __init__(
        self,
        start_step: int,
        store: CheckpointStore,
        *,
        every: int,
        last_step: int,
        seconds_between: float = 0.0,
        agree: Callable[[bool], bool] = bool,
        agree_every: int = 1,
        ends_process: bool = True,
    ) -> None:
        super().__init__(start_step)
        self._store = store
        self._every = every
        self._last_step = last_step
        self._pace = Pace(seconds_between)
        self._agree = agree
        self._agree_every = agree_every
        self._leaving = Leaving(steps=agree_every, ends_process=ends_process)
        self.left_on: int | None = None

    def catching_signals(self) -> contextlib.AbstractContextManager[None]:
        """Returns a context in which signals are handled as described in `Leaving`."""
        return self._leaving.catching()

    def on_step_end(self, step: int, logs: dict[str, tf.Tensor | float]) -> None:
        self._leaving.step_ended()
        told = self._leaving.told
        leaving = step % self._agree_every == 0 and self._agree(told is not None)
        if leaving:
            self.left_on = told or signal.SIGTERM
            self.model.stop_training = True
        due = step % self._every == 0 and (self._store.keeps(step) or self._pace.is_due())
        self._store.check()
        if leaving or step == self._last_step:
            with self._leaving.saving():
                self._store.save()
                self._store.wait()
                if self._agree_every > 1:
                    # The other workers wait for the one that saves: schedulers end a job when one of its processes has ended.
                    self._agree(leaving)
        elif due:
            self._store.save()
            self._pace.done()


class Profile(StepCallback):
    """Records a TensorBoard profile of some steps.

    Args:
        start_step: step at which this process starts.
        folder: run folder.
        first, last: first and last step of the profile, counted from 1.
    """

    def __init__(self, start_step: int, folder: RunFolder, *, first: int, last: int) -> None:
        super().__init__(start_step)
        self._folder = folder
        self._first = first
        self._last = last
        self._running = False

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if self._first <= self.start_step < self._last:
            print(f"No profile is recorded: the run resumes after step {self._first}")

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if self.start_step + batch + 1 == self._first:
            with writing(self._folder.events):
                tf.profiler.experimental.start(self._folder.events)
                self._running = True

    def on_step_end(self, step: int, logs: dict[str, tf.Tensor | float]) -> None:
        if step == self._last:
            self._stop()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._running:
            self._running = False
            with writing(self._folder.events):
                tf.profiler.experimental.stop()
