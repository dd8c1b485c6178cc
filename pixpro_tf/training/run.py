"""Training run: creates data, model and strategy from a configuration, then trains, logs and saves checkpoints."""

import contextlib
import dataclasses
import functools
import io
import os
import signal
import sys
import time
from typing import Any

import tensorflow as tf

from pixpro_tf import build
from pixpro_tf.build import BuildObjectives
from pixpro_tf.config import AUTOMATIC, Config, as_written
from pixpro_tf.data import limits, pipeline, sources
from pixpro_tf.data.progress import duration
from pixpro_tf.data.sources import cache
from pixpro_tf.errors import RunError
from pixpro_tf.ops import devices
from pixpro_tf.storage import init_from, origins
from pixpro_tf.storage.checkpoints import CheckpointStore
from pixpro_tf.storage.run_folder import (
    RunFolder,
    check_same_images,
    find_run_folder,
    locked,
    read_description,
    start_run_folder,
)
from pixpro_tf.training import callbacks, failures, inputs, results, workers
from pixpro_tf.training.advice import advice_on_length
from pixpro_tf.training.feature_figures import FeatureFigures
from pixpro_tf.training.logs import summaries
from pixpro_tf.training.online_probe import OnlineProbe
from pixpro_tf.training.output import unbreakable_output
from pixpro_tf.training.session import Session, Steps, steps_per_epoch
from pixpro_tf.training.strategy import check_strategy, is_chief, make_strategy, set_numerics

# Minimum time between checkpoints and between figures, unless flags set their frequency: an epoch of a small folder may be shorter.
_SECONDS_BETWEEN = 180.0
# Time for a checkpoint that is being written when the run has to end.
_SECONDS_FOR_A_CHECKPOINT = 60.0


def train(
    config: Config,
    make_objectives: BuildObjectives = build.build_objectives,
    *,
    ends_process: bool = True,
) -> int:
    """Trains until the last step of the run, or until a signal stops it.

    Args:
        config: configuration of the run.
        make_objectives: function that returns the objectives for a configuration; by default those that the configuration selects. See
            docs/objectives.md.
        ends_process: whether signals may end the process; see `Leaving`.

    Returns:
        The exit code: 0, or 128 plus the number of the signal that stopped the run early.

    Raises:
        UserError: if the run fails because of a problem that the user can fix.
    """
    set_numerics(config)
    limits.use(config)
    folder = find_run_folder(config)
    strategy = make_strategy(config.strategy, config.tpu, config.num_devices, config.cluster)
    check_strategy(config, strategy)
    config = _with_choices(config, folder)
    chief = is_chief(strategy)
    if service := inputs.data_service(config):
        service.check()
    # Only the chief prints.
    with unbreakable_output() if chief else contextlib.redirect_stdout(io.StringIO()):
        source, bad_images = inputs.open_source(config, folder)
        images_digest = source.images_digest()
        check_same_images(config, folder, source.num_images, images_digest)
        config = config.with_epochs(steps_per_epoch(config, source.num_images))
        with locked(folder) if chief else contextlib.nullcontext():
            # Another process may have used the folder until now.
            find_run_folder(config)
            images: sources.Source = source
            if config.cache != "off":
                images = cache.keep(source, config.dataset, config.cache, config.cache_dir)
            session = _open_session(config, make_objectives, strategy, folder, images)
            # This comes last, so that a rejected start leaves the folder unchanged.
            if chief and session.store.latest is None:
                start_run_folder(
                    config,
                    folder,
                    source.num_images,
                    bad_images,
                    images_digest,
                    origins.class_names(session.model.objectives),
                )
            return _train_session(session, ends_process)


def _with_choices(config: Config, folder: RunFolder) -> Config:
    """Replaces automatic values by the choices of the run so far; for a new run, chooses the best precision for these devices."""
    left = [name for name, automatic in AUTOMATIC.items() if getattr(config, name) == automatic]
    chosen: dict[str, Any] = {"precision": build.precision_of(config)}
    if left and folder.has_checkpoint:
        chosen = read_description(folder)["flags"]
    return dataclasses.replace(config, **{name: chosen[name] for name in left if name in chosen})


def _open_session(
    config: Config,
    make_objectives: BuildObjectives,
    strategy: tf.distribute.Strategy,
    folder: RunFolder,
    source: sources.Source,
) -> Session:
    """Builds the model, and restores it from the newest checkpoint or initialises it from `--init_from`."""
    steps = Steps.of(config, source.num_images)
    learning_rate = build.build_schedule(config, steps.per_epoch)
    with strategy.scope():
        model = build.build_compiled_model(config, learning_rate, steps.total, make_objectives)
    store = CheckpointStore(
        folder.checkpoints,
        model,
        config.keep_checkpoints,
        config.keep_every * (config.checkpoint_every or steps.per_epoch),
        is_chief(strategy),
        background=not config.has_remote_tpu,
    )
    start_step = store.restore()
    for path, reason in store.damaged.items():
        print(
            f"{path} is damaged ({reason}); resuming from the newest readable checkpoint, {store.latest}"
        )
    if store.latest is None and config.init_from:
        print(init_from.initialize_from(model, config.init_from, config.init_from_other_layout))
    workers.check_workers_agree(strategy, start_step, source.num_images, config)
    return Session(config, folder, strategy, source, steps, learning_rate, model, store, start_step)


def _train_session(session: Session, ends_process: bool) -> int:
    print(_description(session))
    if devices.has_unseen_gpu() and not session.config.has_remote_tpu:
        print(
            f"warning: this machine has an NVIDIA GPU that TensorFlow does not see; install tensorflow[and-cuda]=={tf.__version__}, or "
            "check the CUDA libraries"
        )
    if advice := advice_on_length(session.config, session.steps.total):
        print(advice)
    last_step = session.steps.last
    if session.start_step >= last_step:
        print(f"Nothing to do: the run has already completed its {session.start_step} steps.")
        _print_results(session)
        return 0

    config = session.config
    saver = callbacks.Checkpoints(
        session.start_step,
        session.store,
        every=config.checkpoint_every or session.steps.per_epoch,
        last_step=last_step,
        seconds_between=0.0 if config.checkpoint_every else _SECONDS_BETWEEN,
        ends_process=ends_process,
        **workers.agreement(session.strategy),
    )
    watchers = _watchers(session) if is_chief(session.strategy) else []
    started = time.monotonic()
    try:
        with saver.catching_signals():
            # Checkpoints come first, because plotting may fail.
            _fit(session, [saver, *watchers])
    except BaseException:
        # Nothing may write to the folder once it is unlocked. The error of the run matters more than that of a checkpoint.
        with contextlib.suppress(RunError):
            session.store.wait()
        raise

    step = session.model.finished_steps
    if saver.left_on is not None and step < last_step:
        print(
            f"Stopped by {signal.Signals(saver.left_on).name} at step {step} of {last_step}; the checkpoint has been saved. "
            "The same command resumes from there."
        )
        return 128 + saver.left_on
    print(f"Done: {step} steps; this session took {duration(time.monotonic() - started)}.")
    _print_results(session)
    return 0


def _description(session: Session) -> str:
    config, source, strategy = session.config, session.source, session.strategy
    data_steps = pipeline.batches_per_epoch(source.num_images, config.batch_size)
    left_over = source.num_images - data_steps * config.batch_size
    parts = config.gradient_accumulation
    device = strategy.extended.worker_devices[0].split(":")[-2]
    start = session.start_step
    return (
        f"{config.dataset}: {source.num_images} images, {data_steps} batches of {config.batch_size} an epoch"
        + (f", each in {parts} micro-batches" if parts > 1 else "")
        + (f", {left_over} left over each epoch" if left_over else "")
        + f"\n{config.backbone} ({config.backbone_layout}) in {config.precision} on {strategy.num_replicas_in_sync} x {device}, "
        f"{config.epochs} epochs, {session.steps.last} steps, "
        f"{session.ema_schedule.generations(session.steps.last):.1f} generations of the target network"
        + (f", resuming from step {start}" if start else "")
    )


def _print_results(session: Session) -> None:
    print(results.summary(session.folder, session.store.latest, session.config))


def _fit(session: Session, run_callbacks: list[callbacks.StepCallback]) -> None:
    service = inputs.data_service(session.config)
    leave = functools.partial(_leave_at_once, session.store)
    watched = service.watched(leave) if service else contextlib.nullcontext()
    start_step = session.start_step
    try:
        with watched:
            session.model.fit(
                inputs.distributed_dataset(
                    session.config, session.source, session.strategy, start_step
                ),
                # This process trains for one Keras epoch; the epochs of the run are computed from its steps.
                epochs=1,
                steps_per_epoch=session.steps.last - start_step,
                callbacks=run_callbacks,
                verbose=0,
            )
    except tf.errors.OpError as error:
        raise failures.explained(session, error) from error


def _leave_at_once(store: CheckpointStore, error: RunError) -> None:
    with contextlib.suppress(RunError):
        store.wait(_SECONDS_FOR_A_CHECKPOINT)
    print(f"error: {error.line}", file=sys.stderr, flush=True)
    os._exit(error.exit_code)


def _as_table(config: Config) -> str:
    """Returns a Markdown table of all flags, of which those that differ from their defaults are bold."""
    lines = ["| flag | value |", "|---|---|"]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        mark = "" if value == field.default else "**"
        lines.append(f"| --{field.name} | {mark}{as_written(field, value)}{mark} |")
    return "\n".join(lines)


def _watchers(session: Session) -> list[callbacks.StepCallback]:
    """Returns the callbacks that log, plot and evaluate during a run."""
    config, folder, steps = session.config, session.folder, session.steps
    start_step = session.start_step
    with summaries(folder, start_step):
        tf.summary.text("configuration", _as_table(config))
    found: list[callbacks.StepCallback] = [
        callbacks.TrainingLog(
            start_step,
            folder,
            every=config.log_every,
            last_step=steps.last,
            steps_per_epoch=steps.per_epoch,
            epochs=config.epochs,
            batch_size=config.batch_size,
            rate=session.learning_rate,
            generations=session.ema_schedule.generations,
        ),
        callbacks.Pictures(
            start_step,
            folder,
            every=config.pictures_every or steps.per_epoch,
            last_step=steps.last,
            seconds_between=0.0 if config.pictures_every else _SECONDS_BETWEEN,
            views=inputs.pictured_views(
                config, session.source, session.strategy.num_replicas_in_sync
            ),
            map_size=config.pictured_map_size,
            threshold=config.positive_threshold,
        ),
    ]
    if config.strategy != "tpu":
        found.append(
            FeatureFigures(
                start_step,
                folder,
                session.model.online.backbone,
                functools.partial(
                    inputs.fixed_images,
                    config,
                    session.source,
                    session.strategy.num_replicas_in_sync,
                ),
                every=config.features_every or steps.per_epoch,
                seconds_between=0.0 if config.features_every else _SECONDS_BETWEEN,
            )
        )
    if config.probe_every:
        found.append(
            OnlineProbe(
                start_step,
                folder,
                session.model.online.backbone,
                every=config.probe_every,
                data_dir=config.data_dir,
            )
        )
    if config.profile_range is not None:
        first, last = config.profile_range
        found.append(callbacks.Profile(start_step, folder, first=first, last=last))
    return found
