"""TFRecord shards of a set of images. The contents of a shard depend only on the plan, so any process of any machine can write it."""

import contextlib
import dataclasses
import functools
import json
import os
import uuid
from collections.abc import Iterator

import tensorflow as tf

from pixpro_tf.data import pillow_images
from pixpro_tf.data.images import decode
from pixpro_tf.data.parallelism import untuned
from pixpro_tf.data.sources import ListedSource, bad_images, open_source
from pixpro_tf.data.sources.tfrecords import FEATURES
from pixpro_tf.errors import ConfigError, RunError, argument_called, why_unwritable

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
        if source.passed_over:
            print(source.passed_over)
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


def write_shard(plan: Plan, folder: str, scratch: str, skip_bad: bool, shard: int) -> int:
    """Writes a shard; its file appears in its folder once it is complete.

    All images are decoded, so that the shards contain no damaged ones.

    Args:
        plan: plan of all shards.
        folder: folder of the shards, local or in any file system that TensorFlow writes.
        scratch: folder for incomplete files and the names of bad images, in the same file system.
        skip_bad: whether images that cannot be read or decoded are left out, instead of ending the command; see `bad_images_of`.
        shard: index of the shard.

    Returns:
        Index of the shard.

    Raises:
        RunError: if the images cannot be read or have changed, or a file cannot be written.
    """
    source, digest = _open(plan.images)
    if digest != plan.digest:
        _open.cache_clear()
        source, digest = _open(plan.images)
    if digest != plan.digest:
        raise RunError(
            f"{plan.images} contains different images than when the command started; all workers must read the same files, and these must not change meanwhile",
            of="images",
        )
    name = plan.file_name(shard)
    # Several processes may write the same shard if a cluster repeats a task; the files are equal.
    incomplete = os.path.join(scratch, f"{name}.{uuid.uuid4().hex}")
    bad = _find_bad(plan, source, shard) if skip_bad else []
    records = _records(plan, source, shard, bad)
    try:
        with tf.io.gfile.GFile(_list_of_bad(plan, scratch, shard), "w") as file:
            file.write(json.dumps([os.fsdecode(name) for name in bad]))
        with tf.io.TFRecordWriter(incomplete) as file:
            for record in records:
                file.write(record)
        if "://" not in incomplete:
            # A power cut must not leave an empty file under the final name.
            with open(incomplete, "rb") as written:
                os.fsync(written.fileno())
        tf.io.gfile.rename(incomplete, os.path.join(folder, name), overwrite=True)
    except (OSError, tf.errors.OpError) as error:
        raise RunError(
            f"{folder} cannot be written: {why_unwritable(error)}", of="output"
        ) from None
    finally:
        with contextlib.suppress(tf.errors.OpError):
            if tf.io.gfile.exists(incomplete):
                tf.io.gfile.remove(incomplete)
    return shard


def bad_images_of(plan: Plan, scratch: str) -> list[bytes]:
    """Returns the names of the images that `write_shard` has left out of all shards."""
    names: list[bytes] = []
    for path in (_list_of_bad(plan, scratch, shard) for shard in plan.shards):
        # Earlier versions wrote none.
        if tf.io.gfile.exists(path):
            with tf.io.gfile.GFile(path) as file:
                names += map(os.fsencode, json.loads(file.read()))
    return sorted(names)


def _list_of_bad(plan: Plan, scratch: str, shard: int) -> str:
    return os.path.join(scratch, f"bad_{plan.file_name(shard)}.json")


def _stretch(plan: Plan, source: ListedSource, shard: int) -> tf.data.Dataset:
    """Records of the images of a shard, in its order."""
    return source.stretch(plan.seed, tf.constant(0, tf.int64), plan.positions(shard))


def _find_bad(plan: Plan, source: ListedSource, shard: int) -> list[bytes]:
    """Returns the names of the images of a shard that cannot be read or decoded."""
    return bad_images.find_bad_images(_stretch(plan, source, shard), source)


def _records(
    plan: Plan, source: ListedSource, shard: int, left_out: list[bytes]
) -> Iterator[bytes]:
    """Yields the serialized `tf.train.Example` of each image of a shard, except those of some names."""
    names = tf.constant(left_out, tf.string)
    chosen = _stretch(plan, source, shard).filter(
        lambda record: tf.reduce_all(record["name"] != names)
    )
    images = chosen.map(
        functools.partial(_decodable, source),
        num_parallel_calls=_READS_AT_ONCE,
        deterministic=True,
    )
    options = tf.data.Options()
    options.threading.private_threadpool_size = _READS_AT_ONCE
    try:
        for name, encoded, _ in (
            untuned(images.prefetch(64)).with_options(options).as_numpy_iterator()
        ):
            if pillow_images.is_one(encoded):
                # Readers of the shards may be on machines without this package.
                encoded = pillow_images.png_of(encoded)
            example = example_of({FEATURES[0]: encoded, "image/filename": name})
            # The same images result in the same files, byte for byte.
            yield example.SerializeToString(deterministic=True)
    except tf.errors.OpError as error:
        bad = _find_bad(plan, source, shard)
        order = (record["name"] for record in _stretch(plan, source, shard).as_numpy_iterator())
        first = [name for name in order if name in bad][:1]
        raise bad_images.unreadable(first, error, plan.images) from None


def _decodable(
    source: ListedSource, record: dict[str, tf.Tensor]
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns the name of an image, its contents, and the shape of the decoded image, without which it would not be decoded."""
    encoded = source.encoded(record)
    return record["name"], encoded, tf.shape(decode(encoded))


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
