"""Inputs of a training run: its images, its distributed dataset, and the views that it plots."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from pixpro_tf.config import Config
from pixpro_tf.data import pipeline, sources
from pixpro_tf.data.service import DataService
from pixpro_tf.data.sources import bad_images
from pixpro_tf.data.sources.shards import ShardSource
from pixpro_tf.data.views import photometric
from pixpro_tf.errors import ConfigError, RunError, first_line, listed
from pixpro_tf.evaluation import pictures
from pixpro_tf.storage.run_folder import RunFolder, read_bad_images
from pixpro_tf.training.feature_figures import FixedImages

PICTURED_IMAGES = 4

# Smallest areas of the crops on which features are looked at: those of pairs, which must overlap, and those that show nearly the whole image.
_FIXED_CROP_AREA, _LARGE_CROP_AREA = 0.3, 0.8
_MATCHED_IMAGES = 32
# Two batches of views, in RGB in [0, 1], and their boxes.
PicturedViews = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def open_source(config: Config, folder: RunFolder) -> tuple[sources.FileSource, list[bytes]]:
    """Opens the images of a run.

    Returns:
        The images, without the bad ones if `--on_bad_image=skip`, and the names of the skipped ones.

    Raises:
        ConfigError, RunError: if the dataset does not exist, or contains less than one batch of images.
    """
    source = sources.open_source(
        config.dataset,
        data_dir=config.data_dir,
        split=config.split,
        shuffle_buffer=config.shuffle_buffer,
        channels=config.image_channels,
    )
    if source.needs_pillow and (config.data_service or config.has_remote_tpu):
        name, value = ("data_service", config.data_service)
        if not value:
            name, value = "tpu", config.tpu
        if source.channels.is_photograph:
            rule = "JPEG, PNG and BMP images only; convert the others with pixpro_tf.tfrecords"
        else:
            rule = "8-bit RGB images only; use --tpu=local or GPUs"
        raise ConfigError(f"{value} supports {rule}", of=name)
    if source.passed_over:
        print(source.passed_over)
    bad: list[bytes] = []
    if config.on_bad_image == "skip":
        if folder.has_checkpoint:
            bad = read_bad_images(folder)
        else:
            try:
                bad = bad_images.decode_all(source)
            except tf.errors.OpError as error:
                short = missing_records(config, source, error)
                raise (short or damaged_dataset(config, source, first_line(error))) from error
        source = bad_images.leave_out(source, bad, config.dataset)
    if source.num_images < config.batch_size:
        raise ConfigError(
            f"--batch_size={config.batch_size} is greater than the number of images in {config.dataset} ({source.num_images}); "
            f"use at most {source.num_images}"
        )
    return source, bad


def damaged_dataset(config: Config, source: sources.Source, reason: str) -> RunError:
    """Returns the error for a dataset whose shards are damaged; reads all shards to name those."""
    if isinstance(source, ShardSource) and (damaged := source.damaged_shards()):
        reason = f"{listed(damaged, 3)}: {reason}"
    return RunError(
        f"--dataset={config.dataset} is damaged, and its shards must be created again: {reason}"
    )


def missing_records(
    config: Config, source: sources.Source, error: tf.errors.OpError
) -> RunError | None:
    """Returns the error for shards with fewer records than expected, if that is what tf.data reports; otherwise None."""
    if "expected to contain" not in str(error) or not isinstance(source, ShardSource):
        return None
    short = source.short_shards()
    if not short:
        return None
    return damaged_dataset(config, source, f"records are missing in {listed(short, 3)}")


def data_service(config: Config) -> DataService | None:
    """Returns the data service that creates the batches of a run; None if this process creates them."""
    return DataService(tuple(config.data_services)) if config.data_service else None


def training_dataset(
    config: Config, source: sources.Source | None = None, *, start_step: int = 0
) -> tf.data.Dataset:
    """Returns an infinite dataset of batches of pairs of views, for `model.fit` of a `PixPro` on one device.

    Args:
        config: configuration; `dataset`, `data_dir`, `split`, `batch_size`, `image_size`, `augmentation`, `seed` and the other flags for
            data are used.
        source: images; by default those of `config.dataset`.
        start_step: step of the first batch. Datasets with different start steps have the same batch at the same step.

    Returns:
        A dataset of elements `{"view_1", "view_2": [B, S, S, C], "box_1", "box_2": [B, 4] float32}`: two views of each image, as normalised
        float32, and their boxes (see `ops.geometry`). With `augment_on="device"`, views are uint8, and `"seed": [B, 2] int32` determines
        the photometric augmentation that the model applies.

    Raises:
        UserError: if the dataset does not exist, or contains less than one batch of images.

    Examples:
        >>> import pixpro_tf
        >>> config = pixpro_tf.Config(dataset="photographs", batch_size=4, image_size=64)
        >>> batch = next(iter(pixpro_tf.training_dataset(config)))
        >>> batch["view_1"].shape, batch["box_1"].shape
        (TensorShape([4, 64, 64, 3]), TensorShape([4, 4]))
    """
    if source is None:
        source, _ = open_source(config, RunFolder(os.path.expanduser(config.run_dir)))
    return _dataset_of_host(config, source, start_step, num_hosts=1, host=0, replicas_per_host=1)


def _dataset_of_host(
    config: Config,
    source: sources.Source,
    start_step: int,
    *,
    num_hosts: int,
    host: int,
    replicas_per_host: int,
) -> tf.data.Dataset:
    on_host = config.augment_on == "host"
    return pipeline.training_dataset(
        source,
        batch_size=config.batch_size,
        image_size=config.image_size,
        min_crop_area=config.min_crop_area,
        max_crop_area=config.max_crop_area,
        seed=config.seed,
        start_step=start_step,
        photometric=_photometric(config) if on_host else None,
        workers=config.data_workers,
        num_hosts=num_hosts,
        host=host,
        replicas_per_host=replicas_per_host,
        accumulation=config.gradient_accumulation,
        service=data_service(config),
        pillow=not config.has_remote_tpu,
    )


def _photometric(config: Config) -> photometric.Photometric:
    return photometric.Photometric(config.augmentation, config.image_channels)


def distributed_dataset(
    config: Config, source: sources.Source, strategy: tf.distribute.Strategy, start_step: int
) -> tf.distribute.DistributedDataset:
    """Returns the run's batches from a step on; each host reads only its share of each global batch."""

    def dataset_of_host(context: tf.distribute.InputContext) -> tf.data.Dataset:
        hosts = context.num_input_pipelines
        return _dataset_of_host(
            config,
            source,
            start_step,
            num_hosts=hosts,
            host=context.input_pipeline_id,
            replicas_per_host=context.num_replicas_in_sync // hosts,
        )

    return strategy.distribute_datasets_from_function(dataset_of_host)


def fixed_images(config: Config, source: sources.Source, replicas: int) -> FixedImages:
    """Returns the images of a run on which its features are looked at: always the same ones, with views of moderate crops."""
    # A shape for which the photometric augmentation has already been compiled.
    replica_batch = config.batch_size // replicas // config.gradient_accumulation
    settings: dict[str, Any] = {"seed": config.seed, "workers": config.data_workers}
    pairs = pipeline.training_dataset(
        source,
        batch_size=replica_batch,
        image_size=config.image_size,
        min_crop_area=_FIXED_CROP_AREA,
        photometric=_photometric(config),
        **settings,
    )
    whole = pipeline.training_dataset(
        source,
        batch_size=min(PICTURED_IMAGES, source.num_images),
        image_size=2 * config.image_size,
        min_crop_area=_LARGE_CROP_AREA,
        **settings,
    )
    views = {name: value.numpy()[:_MATCHED_IMAGES] for name, value in next(iter(pairs)).items()}
    return FixedImages(next(iter(whole))["view_1"].numpy(), **views)


def pictured_views(
    config: Config, source: sources.Source, replicas: int
) -> Callable[[int], PicturedViews]:
    """Returns a function from a step to the views of the first images of its epoch, exactly as in training.

    Views are created one per-replica batch at a time, a shape for which the photometric augmentation has already been compiled.
    """
    data_steps = pipeline.batches_per_epoch(source.num_images, config.batch_size)

    def views(step: int) -> PicturedViews:
        dataset = pipeline.training_dataset(
            source,
            batch_size=config.batch_size,
            image_size=config.image_size,
            min_crop_area=config.min_crop_area,
            max_crop_area=config.max_crop_area,
            seed=config.seed,
            start_step=step // data_steps * data_steps,
            photometric=_photometric(config),
            replicas_per_host=replicas,
            accumulation=config.gradient_accumulation,
        )
        first = {key: value[:PICTURED_IMAGES] for key, value in next(iter(dataset)).items()}
        view_1, view_2 = (
            pictures.as_rgb(photometric.denormalize(first[name], config.image_channels).numpy())
            for name in ("view_1", "view_2")
        )
        return view_1, view_2, first["box_1"].numpy(), first["box_2"].numpy()

    return views
