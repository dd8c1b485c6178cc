"""Conversion of images to TFRecord files, each of which is a random sample of all images."""

import os
from collections.abc import Iterator

import tensorflow as tf

from pixpro_tf.cli.outputs import atomic_output, refuse_existing
from pixpro_tf.data.parallelism import num_cores, untuned
from pixpro_tf.data.progress import Progress
from pixpro_tf.data.sources import Source, open_source
from pixpro_tf.data.sources.tfrecords import FEATURES
from pixpro_tf.errors import ConfigError, RunError, argument_called, first_line


def write(
    images: str, output: str, *, per_shard: int, seed: int = 0, overwrite: bool = False
) -> int:
    """Writes the images of a source in random order, so that every shard is a random sample of all images.

    Args:
        images: source of the images, `folder:PATH` or `zip:FILE`.
        output: folder to create, with `images-00000-of-00012.tfrecord` and so on. A record is a `tf.train.Example` with `image/encoded`,
            the unchanged bytes of the file, and `image/filename`.
        per_shard: number of images per file; the last file may have fewer.
        seed: seed of the order.
        overwrite: whether to replace an existing output.

    Returns:
        Number of images written.

    Raises:
        UserError: for any problem that the user can fix.
    """
    if not images.startswith(("folder:", "zip:")):
        raise ConfigError(f"{images} must be folder:PATH or zip:FILE", of="images")
    if per_shard < 1:
        raise ConfigError(f"{per_shard} is too small; the minimum is 1", of="per_shard")
    refuse_existing("output", output, overwrite)
    with argument_called(dataset="images"):
        source = open_source(images, data_dir="", split="", shuffle_buffer=1)

    def serialized(name: bytes, encoded: bytes) -> bytes:
        example = _example({FEATURES[0]: encoded, "image/filename": name})
        # The same images result in the same files, byte for byte.
        return example.SerializeToString(deterministic=True)

    shards = -(-source.num_images // per_shard)
    progress = Progress(source.num_images)
    with atomic_output(output, overwrite) as folder:
        os.makedirs(folder)
        left = _encoded(images, source, seed)
        for shard in range(shards):
            path = os.path.join(folder, f"images-{shard:05d}-of-{shards:05d}.tfrecord")
            with tf.io.TFRecordWriter(path) as file:
                for _, (name, encoded) in zip(range(per_shard), left, strict=False):
                    file.write(serialized(name, encoded))
                    progress.add(1)
    return source.num_images


def _encoded(images: str, source: Source, seed: int) -> Iterator[tuple[bytes, bytes]]:
    """Yields the name and the bytes of each image of a source."""
    records = source.epoch(seed, tf.constant(0, tf.int64)).map(
        lambda record: (record["name"], source.encoded(record)),
        num_parallel_calls=num_cores(),
        deterministic=True,
    )
    try:
        yield from untuned(records.prefetch(64)).as_numpy_iterator()
    except tf.errors.OpError as error:
        raise RunError(f"{images} cannot be read: {first_line(error)}", of="images") from None


def _example(features: dict[str, bytes]) -> tf.train.Example:
    return tf.train.Example(
        features=tf.train.Features(
            feature={
                name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
                for name, value in features.items()
            }
        )
    )
