"""Sources whose images are known by name; the order of an epoch is computed, never stored in memory."""

import hashlib
from collections.abc import Iterable, Sequence

import tensorflow as tf

from pixpro_tf.data.images import needs_pillow
from pixpro_tf.data.views.channels import RGB, Channels
from pixpro_tf.ops.graphs import as_written

Record = dict[str, tf.Tensor]


class ListedSource:
    """Images that are known by name; subclasses define how an image is read.

    Args:
        names: names of all images, each once; at least one.
        channels: channels of the images.

    Attributes:
        passed_over: message about files that are not images; empty if there are none.
        needs_pillow, channels: see `Source`.
    """

    passed_over = ""

    def __init__(self, names: Sequence[bytes], channels: Channels = RGB) -> None:
        self.num_images = len(names)
        self.channels = channels
        self.needs_pillow = not channels.is_photograph or any(map(needs_pillow, names))
        # Created once, outside the graphs that use it: the names of a large folder take many megabytes.
        self._names = tf.constant(names)

    def epoch(self, run_seed: int, epoch: tf.Tensor) -> tf.data.Dataset:
        """Returns all records, each once, in the order of this epoch; a pure function of the two arguments."""
        return self.stretch(run_seed, epoch, range(self.num_images))

    def stretch(self, run_seed: int, epoch: tf.Tensor, positions: range) -> tf.data.Dataset:
        """Returns the records at some positions of an epoch; those before them are not computed."""
        return self._at(run_seed, epoch, positions).map(lambda position, record: record)

    def part(self, run_seed: int, epoch: tf.Tensor, hosts: int, host: int) -> tf.data.Dataset:
        """Returns `(position, record)` for all positions of an epoch that leave the remainder `host` when divided by `hosts`."""
        return self._at(run_seed, epoch, range(host, self.num_images, hosts))

    def _at(self, run_seed: int, epoch: tf.Tensor, positions: range) -> tf.data.Dataset:
        """Returns `(position, record)` for some positions of an epoch."""
        seed = tf.stack([tf.constant(run_seed, tf.int64), tf.cast(epoch, tf.int64)])

        @as_written
        def record(position: tf.Tensor) -> tuple[tf.Tensor, Record]:
            index = tf.random.experimental.index_shuffle(
                position, seed=seed, max_index=tf.constant(self.num_images - 1, tf.int64)
            )
            return position, {"name": self._names[index], "index": index}

        return tf.data.Dataset.range(positions.start, positions.stop, positions.step).map(record)

    def digest(self) -> str:
        """Returns a hexadecimal digest of the images' names and of whatever else distinguishes them from other images.

        The `"index"` of a record distinguishes it from others with the same digest.
        """
        names = self._names.numpy()
        return hashlib.sha256(b"\0".join([self._origin(), *names])).hexdigest()

    def images_digest(self) -> str:
        """Returns a hexadecimal digest of the images' names within their dataset, wherever that is."""
        return hashlib.sha256(b"\0".join(self._names_in_dataset())).hexdigest()

    def _names_in_dataset(self) -> list[bytes]:
        """Names of all images, without the place of the dataset."""
        names: list[bytes] = self._names.numpy().tolist()
        return names

    def _origin(self) -> bytes:
        """Whatever distinguishes the images from others with the same names."""
        return b""

    def without_contents(self) -> "ListedSource":
        """Returns a source of the same records in the same orders, without images; these records never contain images."""
        return self

    def encoded(self, record: Record) -> tf.Tensor:
        """Returns the encoded image of a record."""
        raise NotImplementedError

    def without(self, names: Iterable[bytes]) -> "ListedSource":
        """Returns the same source without the images of these names."""
        raise NotImplementedError
