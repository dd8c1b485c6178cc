"""Sources whose images are known by name: an order for each epoch, which is never held in memory."""

import hashlib
from collections.abc import Iterable, Sequence

import tensorflow as tf

from pixpro_tf.ops.graphs import as_written

Record = dict[str, tf.Tensor]


class ListedSource:
    """Images that are known by name; a subclass says how one of them is read.

    Args:
        names: of all images, each once; at least one.

    Attributes:
        passed_over: what is said of files beside them that are no images; empty if there are none.
    """

    passed_over = ""

    def __init__(self, names: Sequence[bytes]) -> None:
        self.num_images = len(names)
        # Made once, outside the graphs that use it: the names of a large folder are many megabytes.
        self._names = tf.constant(names)

    def epoch(self, run_seed: int, epoch: tf.Tensor) -> tf.data.Dataset:
        """All records, each once, in the order of this epoch; a pure function of the two arguments."""
        return self.part(run_seed, epoch, 1, 0).map(lambda position, record: record)

    def part(self, run_seed: int, epoch: tf.Tensor, hosts: int, host: int) -> tf.data.Dataset:
        """Of an epoch, `(position, record)` of all positions that leave the remainder `host` when divided by `hosts`."""
        seed = tf.stack([tf.constant(run_seed, tf.int64), tf.cast(epoch, tf.int64)])

        @as_written
        def record(position: tf.Tensor) -> tuple[tf.Tensor, Record]:
            index = tf.random.experimental.index_shuffle(
                position, seed=seed, max_index=tf.constant(self.num_images - 1, tf.int64)
            )
            return position, {"name": self._names[index], "index": index}

        return tf.data.Dataset.range(host, self.num_images, hosts).map(record)

    def digest(self) -> str:
        """Of the images' places, and of what else tells them from others; hexadecimal. Records are told apart by their `"index"`."""
        names = self._names.numpy()
        return hashlib.sha256(b"\0".join([self._origin(), *names])).hexdigest()

    def _origin(self) -> bytes:
        """What tells the images from others of the same names."""
        return b""

    def without_contents(self) -> "ListedSource":
        """The same records in the same orders, from which no images need be had; these have none anyway."""
        return self

    def encoded(self, record: Record) -> tf.Tensor:
        """The encoded image."""
        raise NotImplementedError

    def without(self, names: Iterable[bytes]) -> "ListedSource":
        """The same source without the images of these names."""
        raise NotImplementedError
