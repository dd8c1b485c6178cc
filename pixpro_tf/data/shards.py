"""Images as records in TFRecord files: the shards of a prepared TFDS dataset, or others."""

import os
from collections.abc import Iterable

import tensorflow as tf

from pixpro_tf.data.listed import Record

# Shards read in turn, this many images of each at a time.
_OPEN_SHARDS, _SHARD_BLOCK = 16, 16


class ShardSource:
    """The images in TFRecord files.

    Shards are read in a new order each epoch, several at a time, and shuffled within a buffer: with a buffer as large as the dataset
    the order is a full shuffle.

    Args:
        instructions: `(file, skip, take)` for each shard; the records are `tf.train.Example`s.
        feature: name of the encoded image in them.
        shuffle_buffer: in images.
    """

    def __init__(
        self,
        instructions: list[tuple[str, int, int]],
        feature: str,
        shuffle_buffer: int,
        left_out: tuple[bytes, ...] = (),
    ):
        self._instructions = instructions
        self._feature = feature
        self._shuffle_buffer = shuffle_buffer
        self._left_out = left_out
        self.num_images = sum(take for _, _, take in instructions) - len(left_out)
        files, skips, takes = (list(column) for column in zip(*instructions, strict=True))
        self._names = tf.constant(_without_common_folder(files))
        self._table = (
            tf.constant(files),
            tf.constant(skips, tf.int64),
            tf.constant(takes, tf.int64),
        )

    def epoch(self, run_seed: int, epoch: tf.Tensor) -> tf.data.Dataset:
        """All records, each once, in the order of this epoch; a pure function of the two arguments."""
        shards = len(self._instructions)
        epoch = tf.cast(epoch, tf.int64)
        seed = tf.stack([tf.constant(run_seed, tf.int64), epoch])

        def shard(position):
            index = tf.random.experimental.index_shuffle(
                position, seed=seed, max_index=tf.constant(shards - 1, tf.int64)
            )
            file, skip, take = (column[index] for column in self._table)
            records = tf.data.TFRecordDataset(file).enumerate().skip(skip).take(take)
            return records.map(
                lambda place, serialized: {
                    "name": tf.strings.join([self._names[index], tf.strings.as_string(place)], "#"),
                    "encoded": tf.io.parse_single_example(
                        serialized, {self._feature: tf.io.FixedLenFeature([], tf.string)}
                    )[self._feature],
                }
            )

        records = tf.data.Dataset.range(shards).interleave(
            shard,
            cycle_length=_OPEN_SHARDS,
            block_length=_SHARD_BLOCK,
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        if self._left_out:
            left_out = tf.constant(self._left_out)
            records = records.filter(lambda record: tf.reduce_all(record["name"] != left_out))
        return _shuffle(records, min(self._shuffle_buffer, self.num_images), run_seed, epoch)

    def encoded(self, record: Record) -> tf.Tensor:
        """The encoded image."""
        return record["encoded"]

    def without(self, names: Iterable[bytes]) -> "ShardSource":
        """The same source without the images of these names."""
        left_out = tuple(sorted({*self._left_out, *names}))
        return ShardSource(self._instructions, self._feature, self._shuffle_buffer, left_out)


def _without_common_folder(files: list[str]) -> list[str]:
    """Shorter names that still differ: shards of two configurations have the same file names."""
    # Not `commonpath`, which spoils the two slashes of an address; the cut at a slash makes good for comparing characters.
    common = os.path.commonprefix(files)  # noqa: RUF071
    return [file[common.rfind("/") + 1 :] for file in files]


def _shuffle(records, buffer_size, run_seed, epoch):
    """`Dataset.shuffle` as a function of two numbers; that method mixes TensorFlow's global seed in."""
    shuffled = tf.raw_ops.ShuffleDataset(
        input_dataset=tf.data.experimental.to_variant(records),
        buffer_size=tf.constant(buffer_size, tf.int64),
        # Both 0 would mean a seed from the clock.
        seed=tf.constant(run_seed + 1, tf.int64),
        seed2=epoch,
        output_types=tf.nest.flatten(
            tf.nest.map_structure(lambda s: s.dtype, records.element_spec)
        ),
        output_shapes=tf.nest.flatten(
            tf.nest.map_structure(lambda s: s.shape, records.element_spec)
        ),
        reshuffle_each_iteration=False,
    )
    return tf.data.experimental.from_variant(shuffled, records.element_spec)
