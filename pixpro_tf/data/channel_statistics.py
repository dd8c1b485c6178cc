"""Measurement of the range and the statistics of the channels of images."""

import collections
import dataclasses

import numpy as np
import tensorflow as tf

from pixpro_tf.data import stored_values
from pixpro_tf.data.images import decode
from pixpro_tf.data.progress import counted
from pixpro_tf.data.sources import FileSource, bad_images, open_source
from pixpro_tf.data.sources.listed import Record
from pixpro_tf.data.views.channels import RGB, Channels
from pixpro_tf.errors import RunError, argument_called

_PIXELS_OF_IMAGE = 1000
# Files in which three channels of 8 bits can be stored in other ways than as RGB.
_OTHER_WAYS = (b".tif", b".tiff", b".npy")
# Unknown channels, with which all files are listed that may contain an image.
_UNKNOWN = Channels((), (), (), ())


@dataclasses.dataclass(frozen=True)
class _Image:
    """Image of the sample.

    Attributes:
        record: its record in the source.
        pixels: values of some of its pixels, `[N, C]`; `[0, 0]` if it cannot be read.
        is_of_bytes: whether the file stores 8 bits per channel.
        error: why it cannot be read; None if it can.
    """

    record: Record
    pixels: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros([0, 0]))
    is_of_bytes: bool = False
    error: Exception | None = None

    @property
    def count(self) -> int:
        """Number of channels; 0 if the image cannot be read."""
        return self.pixels.shape[-1]

    @property
    def name(self) -> bytes:
        """Name of the image in its source."""
        return self.record["name"].numpy()


def measure(
    images: str,
    *,
    max_images: int = 2000,
    outliers: float = 0.5,
    seed: int = 0,
    skip_bad: bool = False,
    channels: int = 0,
) -> tuple[Channels, int]:
    """Measures the channels of images on random pixels of a random sample.

    The number of channels is that of most images. If those are RGB in 8 bits, all images are read as RGB, as in training.

    Values of 8 bits keep the range 0..255. Otherwise, the range of a channel leaves out a share of its values at either end. Missing values
    do not count.

    Args:
        images: `folder:PATH` or `zip:FILE`.
        max_images: largest number of images that are read.
        outliers: share of the values below the range of a channel, and above it, in per cent.
        seed: seed of the sample.
        skip_bad: whether images of the sample that cannot be read, or have another number of channels, are named and left out.
        channels: number of channels; 0 for that of most images.

    Returns:
        The channels, and the number of images that were measured.

    Raises:
        UserError: if an image cannot be read or has another number of channels than most, or a channel is constant.
    """
    with argument_called(dataset="images"):
        source = open_source(
            images, data_dir="", split="", shuffle_buffer=max_images, channels=_UNKNOWN
        )
    generator = np.random.default_rng(seed)
    if source.passed_over:
        print(source.passed_over)
    number = min(max_images, source.num_images)
    records = source.epoch(seed, tf.constant(0, tf.int64)).take(number)
    sample = [
        _read(source, record, generator, channels) for record in counted(records, number, "images")
    ]
    counts = collections.Counter(each.count for each in sample if each.count)
    # Of two equally frequent numbers, RGB's: images with other channels can be converted to it.
    count = max(counts, key=lambda each: (counts[each], each == RGB.count, each), default=0)
    only_bytes = all(each.is_of_bytes for each in sample if each.count == count)
    as_rgb = only_bytes and count == RGB.count
    sample = [
        _checked(source, each, as_rgb)
        if each.count == count
        else _read_as(source, each, count, as_rgb, generator)
        for each in sample
    ]
    unreadable = [(each.name, each.error) for each in sample if each.error is not None]
    others = [each for each in sample if each.count not in (0, count)]
    if unreadable and not skip_bad:
        name, error = unreadable[0]
        raise bad_images.unreadable([name], error, images)
    with argument_called(dataset="images"):
        bad_images.report([name for name, _ in unreadable], number, images)
    if others:
        names = bad_images.names_of_images([each.name for each in others])
        if not skip_bad:
            raise RunError(
                f"{images} contains images with another number of channels than most, which have {count}: {names}; measure them on their own, "
                "or leave them out with --on_bad_image=skip",
                of="images",
            )
        print(
            f"Skipped images with another number of channels than {count}: {len(others)} of {number} ({names})"
        )
    good = [each for each in sample if each.count == count]
    only_bytes = all(each.is_of_bytes for each in good)
    of_bytes = [each for each in good if each.is_of_bytes]
    fewer = min(of_bytes, [each for each in good if not each.is_of_bytes], key=len)
    if fewer:
        # In the range of 16 bits, images of 8 bits would be black.
        names = bad_images.names_of_images([each.name for each in fewer])
        raise RunError(
            f"{images} contains images with 8 bits per channel and images with other values ({len(of_bytes)} and "
            f"{len(good) - len(of_bytes)} of {len(good)}), which have no common range; convert the fewer ones: {names}",
            of="images",
        )
    found = np.concatenate([each.pixels for each in good]).astype(np.float64)
    return _channels_of(found, images, None if only_bytes else outliers), len(good)


def _read(source: FileSource, record: Record, generator: np.random.Generator, count: int) -> _Image:
    try:
        values, stored = stored_values.read_with_type(source.encoded(record).numpy(), count or None)
    except (ValueError, tf.errors.OpError) as error:
        return _Image(record, error=error)
    return _Image(record, _pixels(values, generator), stored == np.uint8)


def _read_as(
    source: FileSource, image: _Image, count: int, as_rgb: bool, generator: np.random.Generator
) -> _Image:
    """Returns an image with the given number of channels, converted to 8-bit RGB if that is allowed; the same image if it has another one."""
    try:
        encoded = source.encoded(image.record)
        # The axis of the channels of an array may be unclear without their number.
        if as_rgb:
            values, stored = np.asarray(decode(encoded)), np.dtype(np.uint8)
        else:
            values, stored = stored_values.read_with_type(encoded.numpy(), count)
    except (ValueError, tf.errors.OpError):
        return image
    return _Image(image.record, _pixels(values, generator), stored == np.uint8)


def _checked(source: FileSource, image: _Image, as_rgb: bool) -> _Image:
    """Returns an image of three channels with 8 bits, with an error if training, which decodes it as RGB, would see other pixels."""
    if not as_rgb or not image.name.lower().endswith(_OTHER_WAYS):
        return image
    encoded = source.encoded(image.record)
    try:
        if np.array_equal(stored_values.read(encoded.numpy(), RGB.count), decode(encoded)):
            return image
    except (ValueError, tf.errors.OpError):
        pass
    error = ValueError(
        "its three channels of 8 bits are not stored as RGB, as which they are decoded in training; save it as PNG"
    )
    return _Image(image.record, error=error)


def _pixels(values: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Returns random pixels of an image, `[N, C]` from `[H, W, C]`."""
    pixels = values.reshape(-1, values.shape[-1])
    return pixels[generator.integers(len(pixels), size=_PIXELS_OF_IMAGE)]


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
