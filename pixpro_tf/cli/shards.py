"""TFRecord shards of a set of images. The contents of a shard depend only on the plan, so any process of any machine can write it."""

import contextlib
import dataclasses
import functools
import os
import uuid
from collections.abc import Iterator

import tensorflow as tf

from pixpro_tf.data import pillow_images
from pixpro_tf.data.parallelism import untuned
from pixpro_tf.data.sources import ListedSource, open_source
from pixpro_tf.data.sources.tfrecords import FEATURES
from pixpro_tf.errors import ConfigError, RunError, argument_called, first_line

# Number of files that a process reads at once. Reading waits more than it computes, most of all over a network.
_READS_AT_ONCE = 8


@dataclasses.dataclass(frozen=True)
class Plan:
    """Which image is in which shard.

    Args:
        images: source of the images, `folder:PATH` or `zip:FILE`.
        digest: digest of the names of the images, by which processes notice that they read different images.
        num_images: number of images.
        seed: seed of the order.
        per_shard: number of images per shard; the last shard may have fewer.
    """

    images: str
    digest: str
    num_images: int
    seed: int
    per_shard: int

    @classmethod
    def of(cls, images: str, seed: int, per_shard: int) -> "Plan":
        """Lists the images and returns the plan.

        Raises:
            UserError: if the source contains no images, or cannot be read.
        """
        if not images.startswith(("folder:", "zip:")):
            raise ConfigError(f"{images} must be folder:PATH or zip:FILE", of="images")
        if per_shard < 1:
            raise ConfigError(f"{per_shard} is too small; the minimum is 1", of="per_shard")
        # The images may have changed since an earlier call in this process.
        _open.cache_clear()
        source, digest = _open(images)
        return cls(images, digest, source.num_images, seed, per_shard)

    @property
    def shards(self) -> range:
        """Indices of the shards."""
        return range(-(-self.num_images // self.per_shard))

    def file_name(self, shard: int) -> str:
        """Name of the file of a shard."""
        return f"images-{shard:05d}-of-{len(self.shards):05d}.tfrecord"

    def positions(self, shard: int) -> range:
        """Positions of the images of a shard in the order of all images."""
        start = shard * self.per_shard
        return range(start, min(start + self.per_shard, self.num_images))


def write_shard(plan: Plan, folder: str, scratch: str, shard: int) -> int:
    """Writes a shard; its file appears in its folder once it is complete.

    Args:
        plan: plan of all shards.
        folder: folder of the shards, local or in any file system that TensorFlow writes.
        scratch: folder for incomplete files, in the same file system.
        shard: index of the shard.

    Returns:
        Index of the shard.

    Raises:
        RunError: if the images cannot be read or have changed, or the file cannot be written.
    """
    source, digest = _open(plan.images)
    if digest != plan.digest:
        _open.cache_clear()
        source, digest = _open(plan.images)
    if digest != plan.digest:
        raise RunError(
            f"{plan.images} has other images than when the first shard was planned; all processes must see the same images, which must not change",
            of="images",
        )
    name = plan.file_name(shard)
    # Several processes may write the same shard if a cluster repeats a task; the files are equal.
    incomplete = os.path.join(scratch, f"{name}.{uuid.uuid4().hex}")
    records = _records(plan, source, shard)
    try:
        with tf.io.TFRecordWriter(incomplete) as file:
            for record in records:
                file.write(record)
        if "://" not in incomplete:
            # A power cut must not leave an empty file under the final name.
            with open(incomplete, "rb") as written:
                os.fsync(written.fileno())
        tf.io.gfile.rename(incomplete, os.path.join(folder, name), overwrite=True)
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise RunError(f"{folder} cannot be written: {reason}", of="output") from None
    finally:
        with contextlib.suppress(tf.errors.OpError):
            if tf.io.gfile.exists(incomplete):
                tf.io.gfile.remove(incomplete)
    return shard


def _records(plan: Plan, source: ListedSource, shard: int) -> Iterator[bytes]:
    """Yields the serialized `tf.train.Example` of each image of a shard."""
    positions = plan.positions(shard)
    images = source.stretch(plan.seed, tf.constant(0, tf.int64), positions).map(
        lambda record: (record["name"], source.encoded(record)),
        num_parallel_calls=_READS_AT_ONCE,
        deterministic=True,
    )
    options = tf.data.Options()
    options.threading.private_threadpool_size = _READS_AT_ONCE
    try:
        for name, encoded in untuned(images.prefetch(64)).with_options(options).as_numpy_iterator():
            if pillow_images.is_one(encoded):
                encoded = _converted(plan, name, encoded)
            example = example_of({FEATURES[0]: encoded, "image/filename": name})
            # The same images result in the same files, byte for byte.
            yield example.SerializeToString(deterministic=True)
    except tf.errors.OpError as error:
        raise RunError(
            f"{plan.images} cannot be read: {_first_unreadable(plan, source, shard)}{first_line(error)}",
            of="images",
        ) from None


def _converted(plan: Plan, name: bytes, encoded: bytes) -> bytes:
    """Returns a PNG of an image that only Pillow decodes: readers of the shards may be on machines without this package."""
    try:
        return pillow_images.png_of(encoded)
    except ValueError as error:
        raise RunError(
            f"{plan.images} cannot be read: {os.fsdecode(name)}: {error}", of="images"
        ) from None


def _first_unreadable(plan: Plan, source: ListedSource, shard: int) -> str:
    """Returns the name of the first image of a shard that cannot be read, followed by a colon; empty if all can be read now."""
    for record in source.stretch(plan.seed, tf.constant(0, tf.int64), plan.positions(shard)):
        try:
            source.encoded(record)
        except (tf.errors.OpError, ValueError):
            # Outside a graph, a damaged archive raises its own error.
            return os.fsdecode(record["name"].numpy()) + ": "
    return ""


def example_of(features: dict[str, bytes]) -> tf.train.Example:
    """Returns the record of one image.

    Args:
        features: dict from names of features to their values.
    """
    return tf.train.Example(
        features=tf.train.Features(
            feature={
                name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
                for name, value in features.items()
            }
        )
    )


@functools.lru_cache(maxsize=1)
def _open(images: str) -> tuple[ListedSource, str]:
    """Opens a source and computes its digest, once per process: listing a large folder takes minutes."""
    with argument_called(dataset="images"):
        source = open_source(images, data_dir="", split="", shuffle_buffer=1)
    assert isinstance(source, ListedSource)
    return source, source.digest()
