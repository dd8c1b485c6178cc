"""What a source of images is, wherever its images lie."""

from typing import Protocol

import tensorflow as tf

from pixpro_tf.data.sources.listed import Record


class Source(Protocol):
    """Encoded images in a different order each epoch, as the input pipeline asks for them.

    A record stands for one image: it has `"name"`, a string scalar, and `"index"`, an int64 scalar by which records are told apart, and
    whatever else its source needs to give the image. Records are of the source that gave them.

    Attributes:
        num_images: how many records an epoch has.
    """

    num_images: int

    def epoch(self, run_seed: int, epoch: tf.Tensor) -> tf.data.Dataset:
        """All records, each once, in the order of this epoch; a pure function of the two arguments.

        Args:
            run_seed: the run's seed.
            epoch: integer scalar.

        Returns:
            Of records.
        """

    def part(self, run_seed: int, epoch: tf.Tensor, hosts: int, host: int) -> tf.data.Dataset:
        """The share of an epoch that one of several hosts has, in the order of the epoch.

        Args:
            run_seed, epoch: as of `epoch`.
            hosts: how many share the epoch.
            host: which of them this is, from 0.

        Returns:
            Of `(position, record)`, with the int64 scalars `position` that leave the remainder `host` when divided by `hosts`.
        """

    def encoded(self, record: Record) -> tf.Tensor:
        """The encoded image of a record, a string scalar.

        Args:
            record: of `epoch` or `part`.
        """
