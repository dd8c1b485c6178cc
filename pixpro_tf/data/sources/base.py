"""Interface of a source of images, wherever the images are stored."""

from typing import Protocol

import tensorflow as tf

from pixpro_tf.data.sources.listed import Record
from pixpro_tf.data.views.channels import Channels


class Source(Protocol):
    """Encoded images in a different order in each epoch, as the input pipeline reads them.

    A record represents one image. It contains `"name"`, a string scalar, `"index"`, an int64 scalar that identifies the record, and
    whatever else its source needs to return the image. A record can be used only with the source that returned it.

    Attributes:
        num_images: number of records in an epoch.
        needs_pillow: whether there are images that TensorFlow does not decode, by their names; see `images.decode`.
        channels: channels of the images.
    """

    num_images: int
    needs_pillow: bool
    channels: Channels

    def epoch(self, run_seed: int, epoch: tf.Tensor) -> tf.data.Dataset:
        """Returns all records, each once, in the order of this epoch; a pure function of the two arguments.

        Args:
            run_seed: the run's seed.
            epoch: integer scalar.

        Returns:
            Dataset of records.
        """

    def part(self, run_seed: int, epoch: tf.Tensor, hosts: int, host: int) -> tf.data.Dataset:
        """Returns the share of an epoch that one of several hosts reads, in the order of the epoch.

        Args:
            run_seed, epoch: the arguments of `epoch`.
            hosts: number of hosts that share the epoch.
            host: index of this host, from 0.

        Returns:
            Dataset of `(position, record)` for the positions, int64 scalars, that leave the remainder `host` when divided by `hosts`.
        """

    def encoded(self, record: Record) -> tf.Tensor:
        """Returns the encoded image of a record, a string scalar.

        Args:
            record: record of `epoch` or `part`.
        """
