"""Limits of this process for files that others have made: the size of an image, the size and the duration of a download."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits that commands have as flags of the same names.

    Attributes:
        max_megapixels: number of megapixels of an image with up to three channels; images with more channels have fewer pixels.
        max_image_megabytes: size of a file, archive member or record that contains an image.
        max_download_gigabytes: size of a download, and of an archive of a SavedModel when it is unpacked.
        max_download_minutes: duration of a download.
    """

    max_megapixels: int = 100
    max_image_megabytes: int = 256
    max_download_gigabytes: int = 4
    max_download_minutes: int = 60


class TooLarge(ValueError):
    """An image, or the file that contains it, exceeds a limit; the message names the flag."""


_current = Limits()


def current() -> Limits:
    """Returns the limits of this process."""
    return _current


def use(settings: Any) -> None:
    """Sets the limits of this process.

    Args:
        settings: any object; its attributes with the names of limits are used, and the other limits get their defaults.

    Examples:
        >>> from pixpro_tf.data import limits
        >>> limits.use(limits.Limits(max_megapixels=300))
        >>> limits.current().max_megapixels
        300
        >>> limits.use(limits.Limits())
    """
    global _current
    names = [field.name for field in dataclasses.fields(Limits)]
    given = {name: getattr(settings, name) for name in names if hasattr(settings, name)}
    _current = Limits(**given)


def check_pixels(width: int, height: int, channels: int = 3, itemsize: int = 1) -> None:
    """Raises `TooLarge` if an image has too many pixels.

    Args:
        width, height: size of the image.
        channels: number of its channels.
        itemsize: number of bytes of each value. Values are processed in float32, so larger ones count as several.
    """
    limit = _current.max_megapixels
    if width * height * max(channels * max(1, itemsize / 4), 3) > 3 * limit * 10**6:
        each = f" of {channels} channels" if channels > 3 else ""
        raise TooLarge(
            f"the image has {width} x {height} pixels{each}, more than --max_megapixels={limit} allows"
        )


def check_weights(size: int) -> None:
    """Raises `TooLarge` if a file of weights declares more bytes than a download may have."""
    limit = _current.max_download_gigabytes
    if size > limit * 10**9:
        raise TooLarge(
            f"it declares {size / 1e9:.0f} GB, more than --max_download_gigabytes={limit} allows"
        )


def check_bytes(size: int) -> None:
    """Raises `TooLarge` if a file, archive member or record with an image has too many bytes."""
    limit = _current.max_image_megabytes
    if size > limit * 10**6:
        raise TooLarge(
            f"it has {size / 1e6:.0f} MB, more than --max_image_megabytes={limit} allows"
        )
