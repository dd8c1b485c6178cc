"""Input pipeline: batches of two views and their boxes from a source of images."""

from collections.abc import Callable

import tensorflow as tf

from pixpro_tf.data.images import decode
from pixpro_tf.data.parallelism import untuned
from pixpro_tf.data.service import DataService
from pixpro_tf.data.sources import Source, find_bad_images
from pixpro_tf.data.sources.listed import Record
from pixpro_tf.data.views import crops, randomness
from pixpro_tf.ops.cores import num_cores
from pixpro_tf.ops.graphs import as_written

Photometric = Callable[[tf.Tensor, tf.Tensor, int], tf.Tensor]
_FOREVER = tf.int64.max
# Limits of the batches that are augmented photometrically at the same time: their number, and their size in bytes.
_MAX_PARALLEL_BATCHES, _MAX_PARALLEL_BYTES = 16, 4 << 30


def batches_per_epoch(num_images: int, batch_size: int) -> int:
    """Number of full batches in an epoch; images that are left over are not used in that epoch."""
    return num_images // batch_size


def training_dataset(
    source: Source,
    *,
    batch_size: int,
    image_size: int,
    min_crop_area: float,
    max_crop_area: float = 1.0,
    seed: int,
    start_step: int = 0,
    photometric: Photometric | None = None,
    workers: int = 0,
    num_hosts: int = 1,
    host: int = 0,
    replicas_per_host: int = 1,
    accumulation: int = 1,
    service: DataService | None = None,
    pillow: bool = True,
) -> tf.data.Dataset:
    """Endless batches of a run, starting from any step.

    The views of an image are a pure function of the seed, the epoch and the image's position in the epoch. A run that starts at step s
    therefore sees the same batches as an uninterrupted run, and the global batches do not depend on the number of hosts and replicas.

    Args:
        source: source of encoded images, at least one batch of them.
        batch_size: size of the global batch, a multiple of num_hosts * replicas_per_host * accumulation.
        image_size: side S of the views in pixels.
        min_crop_area, max_crop_area: smallest and largest area of a crop, as shares of the image.
        seed: seed of the run.
        start_step: step of the first batch.
        photometric: photometric augmentation that is applied to batches here, on the host; None leaves the views as uint8 and adds the keys
            that are needed to augment them later.
        workers: number of images decoded in parallel; 0 means one per core or, if a service produces the elements, the number that tf.data
            chooses there.
        num_hosts, host: number of hosts that share the global batch, and index of this host; host h reads every num_hosts-th image,
            starting from the h-th.
        replicas_per_host: number of replicas on each host; each element is the share of one replica, in the order of the replicas.
        accumulation: number of micro-batches in a batch; they follow each other.
        pillow: whether this process runs the pipeline, so that it can decode GIF, WebP and TIFF; a remote TPU's hosts, and those of a service,
            cannot.
        service: data service whose workers produce the elements, each from images that it reads itself; None to produce them in this
            process.

    Returns:
        Dataset of `{"view_1", "view_2": [b, S, S, C], "box_1", "box_2": [b, 4] float32}` with b images for each replica and micro-batch.
        Views are normalised float32, or uint8 together with `"seed": [b, 2] int32`.
    """
    steps = batches_per_epoch(source.num_images, batch_size)
    first_epoch, first_batch = divmod(start_step, steps)
    host_batch = batch_size // num_hosts
    share = host_batch // replicas_per_host // accumulation

    @as_written
    def epoch_records(epoch: tf.Tensor) -> tf.data.Dataset:
        records = source.part(seed, epoch, num_hosts, host).take(steps * host_batch)
        done = tf.constant(first_batch * host_batch, tf.int64)
        records = records.skip(tf.where(epoch == first_epoch, done, 0))

        @as_written
        def placed(position: tf.Tensor, record: Record) -> tuple[tf.Tensor, tf.Tensor, Record]:
            place = epoch * steps * host_batch + position // num_hosts
            return place, randomness.image_key(seed, epoch, position), record

        return records.map(placed)

    @as_written
    def views(place: tf.Tensor, key: tf.Tensor, record: Record) -> dict[str, tf.Tensor]:
        image = decode(source.encoded(record), pillow and service is None, source.channels)
        areas = min_crop_area, max_crop_area
        view_1, box_1 = crops.make_view(image, key, 1, image_size, *areas)
        view_2, box_2 = crops.make_view(image, key, 2, image_size, *areas)
        return {
            "view_1": view_1,
            "view_2": view_2,
            "box_1": box_1,
            "box_2": box_2,
            "seed": key,
        } | ({} if service is None else {"place": place})

    @as_written
    def colours(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        assert photometric is not None
        key = batch.pop("seed")
        return batch | {
            name: photometric(batch[name], key, view)
            for view, name in ((1, "view_1"), (2, "view_2"))
        }

    def elements(first: int, every: int) -> tf.data.Dataset:
        parallel = workers or (num_cores() if service is None else tf.data.AUTOTUNE)
        dataset = tf.data.Dataset.range(first_epoch, _FOREVER).flat_map(epoch_records)
        if every > 1:
            dataset = dataset.batch(share).shard(every, first).unbatch()
        dataset = dataset.map(views, num_parallel_calls=parallel, deterministic=True)
        dataset = dataset.batch(share, drop_remainder=True)
        if photometric is not None:
            bytes_each = share * 2 * image_size**2 * source.channels.count * 4
            most = min(_MAX_PARALLEL_BATCHES, max(2, _MAX_PARALLEL_BYTES // bytes_each))
            # AUTOTUNE is negative, so the minimum keeps it.
            dataset = dataset.map(
                colours, num_parallel_calls=min(parallel, most), deterministic=True
            )
        return dataset if parallel == tf.data.AUTOTUNE else untuned(dataset)

    if service is None:
        dataset = elements(0, 1)
    else:
        dataset = service.distributed(elements, share, start_step * host_batch)
    # If the cardinality is unknown, hosts ask each other before every step whether all of them have another batch.
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
    return untuned(dataset.prefetch(2 * replicas_per_host))


def bad_images_of_step(source: Source, step: int, batch_size: int, seed: int) -> list[bytes]:
    """Names of the images in a step's global batch that cannot be read or decoded."""
    epoch, batch = divmod(step, batches_per_epoch(source.num_images, batch_size))
    records = source.epoch(seed, tf.constant(epoch, tf.int64))
    return find_bad_images(records.skip(batch * batch_size).take(batch_size), source)
