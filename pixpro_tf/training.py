"""A run from its configuration: data, model and strategy put together, trained, logged and saved."""

import contextlib
import io
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Sequence

import tensorflow as tf

from pixpro_tf import callbacks, initialization, pixpro
from pixpro_tf.checkpoints import CheckpointStore
from pixpro_tf.commands import is_installed_command
from pixpro_tf.config import Config
from pixpro_tf.data import cache, photometric, pipeline, sources
from pixpro_tf.data.service import SEVERAL_WORKERS, DataService
from pixpro_tf.data.shards import ShardSource
from pixpro_tf.errors import ConfigError, RunError, first_line, listed
from pixpro_tf.evaluation.online import OnlineProbe
from pixpro_tf.objectives import build as objectives
from pixpro_tf.objectives.base import Objective
from pixpro_tf.optimizers import build as optimizers
from pixpro_tf.optimizers.schedules import WarmupCosine, WarmupSteps
from pixpro_tf.run_folder import (
    RunFolder,
    check_same_images,
    find_run_folder,
    locked,
    read_bad_images,
    start_run_folder,
)
from pixpro_tf.strategy import is_chief, make_strategy

PICTURED_IMAGES = 4
_NAMED_BAD_IMAGES = 20
# Between checkpoints, and between pictures, unless flags ask for more: a small folder's epoch takes less than either.
_SECONDS_BETWEEN = 180.0
# Steps between two times that the workers of a cluster ask each other whether one was told to leave.
_AGREE_EVERY = 5


MakeObjectives = Callable[[Config], Sequence[Objective]]


def run(config: Config, make_objectives: MakeObjectives = objectives.from_config) -> int:
    """Trains until the run's last step, or until it is told to leave.

    Args:
        config: what to train, and on what.
        make_objectives: what to learn; the default is what the configuration says. See docs/objectives.md.

    Returns:
        The exit code: 0, or 128 plus the number of the signal that ended the run early.

    Raises:
        UserError: whatever the user can mend.
    """
    set_numerics(config)
    folder = find_run_folder(config)
    strategy = make_strategy(config.strategy, config.tpu, config.num_devices)
    check_strategy(config, strategy)
    chief = is_chief(strategy)
    if service := data_service(config):
        service.check()
    # The chief speaks for all.
    with contextlib.nullcontext() if chief else contextlib.redirect_stdout(io.StringIO()):
        source, bad_images = open_source(config, folder)
        check_same_images(config, folder, source.num_images)
        with locked(folder) if chief else contextlib.nullcontext():
            # Another process may have had the folder until now.
            find_run_folder(config)
            images: sources.Source = source
            if config.cache != "off":
                images = cache.keep(source, config.dataset, config.cache, config.cache_dir)
            return _run(config, make_objectives, strategy, folder, chief, images, bad_images)


def set_numerics(config: Config) -> None:
    """The seed of the process, and how exactly it computes; before its first computation."""
    tf.keras.utils.set_random_seed(config.seed)
    # XLA, which compiles whole steps and everything for TPUs, refuses the gradient of max-pooling under op determinism; on CPUs
    # and TPUs it is deterministic anyway.
    if config.deterministic and config.jit != "step" and config.strategy != "tpu":
        tf.config.experimental.enable_op_determinism()
    # What is called float32 here has its 24 bits on newer GPUs too; those who want speed have the half precisions.
    tf.config.experimental.enable_tensor_float_32_execution(False)


def _run(
    config: Config,
    make_objectives: MakeObjectives,
    strategy: tf.distribute.Strategy,
    folder: RunFolder,
    chief: bool,
    source: sources.Source,
    bad_images: list[bytes],
) -> int:
    data_steps = pipeline.batches_per_epoch(source.num_images, config.batch_size)
    steps_per_epoch = config.steps_per_epoch or data_steps
    total_steps = config.epochs * steps_per_epoch
    last_step = min(total_steps, config.max_steps or total_steps)

    rate = make_schedule(config, steps_per_epoch)
    with strategy.scope():
        model = make_compiled_model(config, rate, total_steps, make_objectives)
    checkpoint_every = config.checkpoint_every or steps_per_epoch
    store = CheckpointStore(
        folder.checkpoints,
        model,
        config.keep_checkpoints,
        config.keep_every * checkpoint_every,
        chief,
    )
    start_step = store.restore()
    for path, reason in store.damaged.items():
        print(
            f"{path} is damaged ({reason}); going on from the newest that can be read, {store.latest}"
        )
    if store.latest is None and config.init_from:
        print(initialization.initialize_from(model, config.init_from))
    _check_workers_agree(strategy, start_step, source.num_images)
    # Last, for a start that is refused leaves the folder as it was.
    if chief and store.latest is None:
        start_run_folder(config, folder, source.num_images, bad_images)
    print(_description(config, source, strategy, start_step, last_step))
    if start_step >= last_step:
        print(f"There is nothing left to do: the run has made its {start_step} steps.")
        _print_results(folder, store, config)
        return 0

    saver = callbacks.Checkpoints(
        start_step,
        store,
        every=checkpoint_every,
        last_step=last_step,
        seconds_between=0.0 if config.checkpoint_every else _SECONDS_BETWEEN,
        **_agreement(strategy),
    )
    watchers: list[callbacks.StepCallback] = []
    if chief:
        watchers = _chief_callbacks(
            config,
            folder,
            source,
            strategy.num_replicas_in_sync,
            start_step,
            last_step,
            steps_per_epoch,
            rate,
            model,
        )
    started = time.monotonic()
    with saver.catching_signals():
        # The checkpoint first: what is drawn or written after it may fail.
        _fit(model, config, source, strategy, start_step, last_step, [saver, *watchers])

    step = model.finished_steps
    if saver.left_on is not None and step < last_step:
        print(
            f"Stopped by {signal.Signals(saver.left_on).name} at step {step} of {last_step}; the checkpoint is written. "
            "The same command goes on from there."
        )
        return 128 + saver.left_on
    print(f"Done: {step} steps, this time {callbacks.duration(time.monotonic() - started)}.")
    _print_results(folder, store, config)
    return 0


def _description(config, source, strategy, start_step, last_step) -> str:
    data_steps = pipeline.batches_per_epoch(source.num_images, config.batch_size)
    left_over = source.num_images - data_steps * config.batch_size
    parts = config.gradient_accumulation
    device = strategy.extended.worker_devices[0].split(":")[-2]
    return (
        f"{config.dataset}: {source.num_images} images, {data_steps} batches of {config.batch_size} an epoch"
        + (f", each in {parts} parts" if parts > 1 else "")
        + (f", {left_over} images left over each epoch" if left_over else "")
        + f"\n{config.backbone} ({config.backbone_layout}) on {strategy.num_replicas_in_sync} x {device}, {last_step} steps"
        + (f", going on from step {start_step}" if start_step else "")
    )


def _leave_at_once(problem: str) -> None:
    print(f"error: {problem}", file=sys.stderr, flush=True)
    os._exit(RunError.exit_code)


def _fit(model, config, source, strategy, start_step, last_step, run_callbacks) -> None:
    service = data_service(config)
    watched = service.watched(_leave_at_once) if service else contextlib.nullcontext()
    try:
        with watched:
            model.fit(
                distributed_dataset(config, source, strategy, start_step),
                # One Keras epoch is what this process does; the run's own epochs are counted from its steps.
                epochs=1,
                steps_per_epoch=last_step - start_step,
                callbacks=run_callbacks,
                verbose=0,
            )
    except tf.errors.ResourceExhaustedError as error:
        raise RunError(
            f"out of memory at --batch_size={config.batch_size}, --image_size={config.image_size}; "
            "make one of them smaller, split the batch by --gradient_accumulation, or use more devices or --precision=bfloat16"
        ) from error
    except tf.errors.DataLossError as error:
        raise _damaged(config, first_line(error)) from error
    except tf.errors.OpError as error:
        if SEVERAL_WORKERS in str(error):
            raise RunError(
                f"--data_service={config.data_service} gave views out of order: a worker was started anew, or a dispatcher has several; "
                "run one `python -m pixpro_tf.data_service` for each address. The same command goes on from the last checkpoint"
            ) from error
        _raise_if_short(config, source, error)
        step = model.finished_steps
        bad = pipeline.bad_images_of_step(source, step, config.batch_size, config.seed)
        if not bad:
            if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
                raise RunError(
                    f"this worker or another one failed after step {step}: {first_line(error)}; see what the others say"
                ) from error
            if config.data_service:
                raise RunError(
                    f"--data_service={config.data_service} failed after step {step}: {first_line(error)}; "
                    "it has to find the images at the same paths as this process. The same command goes on from the last checkpoint"
                ) from error
            raise
        kept = f", delete what {config.cache_dir} has kept of it" if config.cache == "disk" else ""
        raise RunError(
            f"{_names(bad)} cannot be read as an image (step {step}: {first_line(error)}); "
            f"mend it{kept}, or leave out such files with --on_bad_image=skip and a new --run_dir"
        ) from error


def _damaged(config: Config, reason: str) -> RunError:
    return RunError(
        f"--dataset={config.dataset} is damaged, and its shards have to be made anew: {reason}"
    )


def _raise_if_short(config: Config, source: sources.Source, error: tf.errors.OpError) -> None:
    """Raises `RunError` where shards have fewer records than they should, which is what tf.data has noticed."""
    if "expected to contain" not in str(error) or not isinstance(source, ShardSource):
        return
    if short := source.short_shards():
        raise _damaged(config, f"records are missing in {listed(short, 3)}") from error


def check_strategy(config: Config, strategy: tf.distribute.Strategy) -> None:
    """What can be said of the flags only once the devices are known.

    Raises:
        ConfigError: if the batch does not divide, or a whole step is to be compiled for several replicas.
    """
    replicas = strategy.num_replicas_in_sync
    config.check_replicas(replicas)
    if (
        config.jit == "step"
        and replicas > 1
        and not isinstance(strategy, tf.distribute.TPUStrategy)
    ):
        raise ConfigError(
            f"--jit=step compiles the step of one device, and there are {replicas}; use --jit=ppm"
        )


def open_source(config: Config, folder: RunFolder) -> tuple[sources.FileSource, list[bytes]]:
    """The images of the run, without the bad ones where they are to be skipped, and the names of those.

    Raises:
        ConfigError, RunError: if there is no such dataset, or it has less than one batch of images.
    """
    source = sources.open_source(
        config.dataset,
        data_dir=config.data_dir,
        split=config.split,
        shuffle_buffer=config.shuffle_buffer,
    )
    if source.passed_over:
        print(source.passed_over)
    bad: list[bytes] = []
    if config.on_bad_image == "skip":
        if folder.has_checkpoint:
            bad = read_bad_images(folder)
        else:
            print(f"Decoding {source.num_images} files once, to find those that are no images ...")
            try:
                bad = sources.find_bad_images(source.epoch(0, tf.constant(0, tf.int64)), source)
            except tf.errors.OpError as error:
                _raise_if_short(config, source, error)
                raise _damaged(config, first_line(error)) from error
    if bad:
        print(f"Left out {len(bad)} files that cannot be read as images: {_names(bad)}")
        if len(bad) == source.num_images:
            raise RunError(f"--dataset={config.dataset} has no file that can be read as an image")
        source = source.without(bad)
    if source.num_images < config.batch_size:
        raise ConfigError(
            f"--batch_size={config.batch_size} is more than the {source.num_images} images of {config.dataset}; "
            f"give at most {source.num_images}"
        )
    return source, bad


def _names(names: list[bytes]) -> str:
    shown = [os.fsdecode(name).encode(errors="backslashreplace").decode() for name in names]
    return listed(shown, _NAMED_BAD_IMAGES)


def make_schedule(config: Config, steps_per_epoch: int):
    """The learning rate as a function of the step."""
    warmup_steps = config.warmup_epochs * steps_per_epoch
    if config.schedule == "step":
        drops = [epoch * steps_per_epoch for epoch in config.lr_drop_epochs]
        return WarmupSteps(config.peak_rate, warmup_steps, drops)
    return WarmupCosine(config.peak_rate, warmup_steps, config.epochs * steps_per_epoch)


def make_model(
    config: Config, total_steps: int, make_objectives: MakeObjectives = objectives.from_config
) -> pixpro.PixPro:
    """The model of a run, in the run's precision; the policy of the process stays as it is."""
    policy = "float32" if config.precision == "float32" else f"mixed_{config.precision}"
    on_device = config.augment_on == "device"
    augment = photometric.Photometric(config.augmentation) if on_device else None
    before = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy(policy)
    try:
        return pixpro.from_config(config, total_steps, augment, make_objectives(config))
    finally:
        tf.keras.mixed_precision.set_global_policy(before)


def make_optimizer(config: Config, rate):
    """The optimiser of a run, with loss scaling for float16."""
    try:
        optimizer = optimizers.build(
            config.optimizer,
            rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            trust_coefficient=config.trust_coefficient,
        )
    except ModuleNotFoundError as error:
        raise ConfigError(str(error)) from error
    if config.precision != "float16":
        return optimizer
    if config.loss_scale == "dynamic":
        return tf.keras.mixed_precision.LossScaleOptimizer(optimizer)
    return tf.keras.mixed_precision.LossScaleOptimizer(
        optimizer, dynamic=False, initial_scale=float(config.loss_scale)
    )


def make_compiled_model(
    config: Config, rate, total_steps: int, make_objectives: MakeObjectives = objectives.from_config
) -> pixpro.PixPro:
    """The model of a run with its optimiser, and all variables of both, so that a checkpoint finds them."""
    model = make_model(config, total_steps, make_objectives)
    model.compile(optimizer=make_optimizer(config, rate))
    if hasattr(model.optimizer, "build"):
        model.optimizer.build(model.trainable_variables)
    return model


def data_service(config: Config) -> DataService | None:
    """The processes that make the run's batches, where it is not this one."""
    return DataService(tuple(config.data_services)) if config.data_service else None


def distributed_dataset(
    config: Config, source: sources.Source, strategy: tf.distribute.Strategy, start_step: int
):
    """The run's batches from a step on; each host reads its own part of every global batch."""
    on_host = config.augment_on == "host"

    def dataset_of_host(context: tf.distribute.InputContext) -> tf.data.Dataset:
        hosts = context.num_input_pipelines
        return pipeline.training_dataset(
            source,
            batch_size=config.batch_size,
            image_size=config.image_size,
            min_crop_area=config.min_crop_area,
            max_crop_area=config.max_crop_area,
            seed=config.seed,
            start_step=start_step,
            photometric=photometric.Photometric(config.augmentation) if on_host else None,
            workers=config.data_workers,
            num_hosts=hosts,
            host=context.input_pipeline_id,
            replicas_per_host=context.num_replicas_in_sync // hosts,
            accumulation=config.gradient_accumulation,
            service=data_service(config),
        )

    return strategy.distribute_datasets_from_function(dataset_of_host)


def _chief_callbacks(
    config, folder, source, replicas, start_step, last_step, steps_per_epoch, rate, model
):
    made: list[callbacks.StepCallback] = [
        callbacks.TrainingLog(
            start_step,
            folder,
            every=config.log_every,
            last_step=last_step,
            steps_per_epoch=steps_per_epoch,
            epochs=config.epochs,
            batch_size=config.batch_size,
            rate=rate,
        ),
        callbacks.Pictures(
            start_step,
            folder,
            every=config.pictures_every or steps_per_epoch,
            last_step=last_step,
            seconds_between=0.0 if config.pictures_every else _SECONDS_BETWEEN,
            views=_pictured_views(
                config, source, config.batch_size // replicas // config.gradient_accumulation
            ),
            map_size=config.pictured_map_size,
            threshold=config.positive_threshold,
        ),
    ]
    if config.probe_every:
        made.append(
            OnlineProbe(
                start_step,
                folder,
                model.online.backbone,
                every=config.probe_every,
                data_dir=config.data_dir,
            )
        )
    if config.profile_range is not None:
        first, last = config.profile_range
        made.append(callbacks.Profile(start_step, folder, first=first, last=last))
    return made


def _pictured_views(config: Config, source: sources.Source, replica_batch: int) -> Callable:
    """The views of the first images of the epoch that a step is in, exactly as the training sees them.

    They are made a replica's batch at a time, a shape for which the photometric work has been compiled already.
    """
    data_steps = pipeline.batches_per_epoch(source.num_images, config.batch_size)
    small_steps = pipeline.batches_per_epoch(source.num_images, replica_batch)

    def views(step):
        dataset = pipeline.training_dataset(
            source,
            batch_size=replica_batch,
            image_size=config.image_size,
            min_crop_area=config.min_crop_area,
            max_crop_area=config.max_crop_area,
            seed=config.seed,
            start_step=step // data_steps * small_steps,
            photometric=photometric.Photometric(config.augmentation),
        )
        first = {key: value[:PICTURED_IMAGES] for key, value in next(iter(dataset)).items()}
        images = [photometric.denormalize(first[name]).numpy() for name in ("view_1", "view_2")]
        return *images, first["box_1"].numpy(), first["box_2"].numpy()

    return views


def _sum_over_replicas(strategy: tf.distribute.Strategy) -> Callable[[float], float]:
    @tf.function
    def summed(value):
        return strategy.reduce("SUM", strategy.run(tf.identity, args=(value,)), axis=None)

    return lambda value: float(summed(tf.constant(value, tf.float64)))


def _check_workers_agree(strategy: tf.distribute.Strategy, start_step: int, num_images: int):
    """Processes that start at different steps, or see other images, would train different networks without a word."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return
    replicas = strategy.num_replicas_in_sync
    total = _sum_over_replicas(strategy)
    for what, value, remedy in (
        ("starts at step {}", start_step, "--run_dir has to be one folder that all of them reach"),
        ("has {} images", num_images, "--dataset has to be the same for all of them"),
    ):
        mean = total(value) / replicas
        # The mean of the squares exceeds the square of the mean where any of them differs.
        if total(value**2) / replicas > mean**2 * (1 + 1e-12):
            raise RunError(
                f"the workers differ: this one {what.format(value)}, their mean is {mean:.1f}; {remedy}"
            )


def _agreement(strategy: tf.distribute.Strategy) -> dict:
    """How several processes agree to leave after the same step; a single one need not ask."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return {}

    total = _sum_over_replicas(strategy)
    return {"agree": lambda told: total(told) > 0, "agree_every": _AGREE_EVERY}


def _print_results(folder: RunFolder, store: CheckpointStore, config: Config) -> None:
    print(
        f"""
  checkpoint    {store.latest}
  TensorBoard   {folder.tensorboard}
  pictures      {folder.pictures}
  metrics       {folder.metrics}

Next:
{_next_commands(folder, config)}"""
    )


def _next_commands(folder: RunFolder, config: Config) -> str:
    """Commands that work for this run as they stand, but for the images of the last one."""
    python = os.path.relpath(sys.executable)
    python = shlex.quote(sys.executable if python.startswith("..") else python)
    train = f"{python} train.py --flagfile=configs/pixpro.flags"
    export = f"{python} -m export.savedmodel"
    if is_installed_command():
        train, export = "pixpro-train --flagfile=pixpro", "pixpro-export savedmodel"
    run = shlex.quote(folder.path)
    exported = shlex.quote(os.path.join("exported", os.path.basename(folder.path.rstrip("/"))))
    # It may be that a run ends before its schedule does.
    unfinished = " --allow_unfinished" if config.max_steps else ""
    backbone = f"--backbone={config.backbone}"
    if config.backbone_layout != Config.backbone_layout:
        backbone += f" --backbone_layout={config.backbone_layout}"
    return f"""\
  {python} -m tensorboard.main --logdir {shlex.quote(folder.tensorboard)}
  {export} --run={run} --output={exported}{unfinished}
  {train} {backbone} --init_from={run} \\
      --dataset=folder:/path/to/your/images --batch_size=64 --run_dir=runs/mine"""
