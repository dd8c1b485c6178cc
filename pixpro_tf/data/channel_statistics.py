"""Measurement of the range and the statistics of the channels of images."""

import numpy as np
import tensorflow as tf

from pixpro_tf.data import stored_values
from pixpro_tf.data.progress import counted
from pixpro_tf.data.sources import bad_images, open_source
from pixpro_tf.data.views.channels import RGB, Channels
from pixpro_tf.errors import RunError, argument_called

_PIXELS_OF_IMAGE = 1000
# Unknown channels, with which all files are listed that may contain an image.
_UNKNOWN = Channels((), (), (), ())


def measure(
    images: str,
    *,
    max_images: int = 2000,
    outliers: float = 0.5,
    seed: int = 0,
    skip_bad: bool = False,
) -> tuple[Channels, int]:
    """Measures the channels of images on random pixels of a random sample.

    Values of 8 bits keep the range 0..255. Otherwise, the range of a channel leaves out a share of its values at either end. Missing values
    do not count.

    Args:
        images: `folder:PATH` or `zip:FILE`.
        max_images: largest number of images that are read.
        outliers: share of the values below the range of a channel, and above it, in per cent.
        seed: seed of the sample.
        skip_bad: whether images of the sample that cannot be read are named and left out.

    Returns:
        The channels, and the number of images that were read.

    Raises:
        UserError: if an image cannot be read, images have different numbers of channels, or a channel is constant.
    """
    with argument_called(dataset="images"):
        source = open_source(
            images, data_dir="", split="", shuffle_buffer=max_images, channels=_UNKNOWN
        )
    generator = np.random.default_rng(seed)
    number = min(max_images, source.num_images)
    records = source.epoch(seed, tf.constant(0, tf.int64)).take(number)
    samples: list[np.ndarray] = []
    bad: list[bytes] = []
    only_bytes = True
    for record in counted(records, number, "images"):
        count = samples[0].shape[-1] if samples else None
        try:
            encoded = source.encoded(record).numpy()
            values = stored_values.read(encoded, count)
        except (ValueError, tf.errors.OpError) as error:
            name = record["name"].numpy()
            if skip_bad:
                bad.append(name)
                continue
            raise bad_images.unreadable([name], error, images) from None
        only_bytes = only_bytes and values.dtype == np.uint8
        pixels = values.reshape(-1, values.shape[-1])
        places = generator.integers(len(pixels), size=_PIXELS_OF_IMAGE)
        samples.append(pixels[places].astype(np.float64))
    with argument_called(dataset="images"):
        bad_images.report(bad, number, images)
    found = np.concatenate(samples)
    return _channels_of(found, images, None if only_bytes else outliers), len(samples)


def _channels_of(values: np.ndarray, images: str, outliers: float | None) -> Channels:
    """Returns the channels of values `[N, C]`; None for `outliers` keeps the range of 8 bits."""
    columns = [column[np.isfinite(column)] for column in values.T]
    low, high, mean, std = [], [], [], []
    for number, column in enumerate(columns, start=1):
        below, above = RGB.low[0], RGB.high[0]
        if outliers is not None and column.size:
            below, above = map(_rounded, np.percentile(column, [outliers, 100 - outliers]))
        if not column.size or below >= above or column.min() == column.max():
            raise RunError(
                f"{images} is almost constant in channel {number}; remove this channel from the images",
                of="images",
            )
        relative = np.clip((column - below) / (above - below), 0, 1)
        low.append(below)
        high.append(above)
        mean.append(_rounded(relative.mean()))
        std.append(_rounded(relative.std()))
    return Channels(tuple(low), tuple(high), tuple(mean), tuple(std))


def _rounded(number: float) -> float:
    # As many digits as a flag is written with.
    return float(f"{number:.6g}")
