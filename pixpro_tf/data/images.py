"""Encoded images: which files count as images, and how they are decoded."""

import collections
import os
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from pixpro_tf.data import image_headers, limits, pillow_images, stored_values
from pixpro_tf.data.views.channels import RGB, Channels

IMAGE_SUFFIXES = (
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".png",
    ".gif",
    ".bmp",
    ".webp",
    ".tif",
    ".tiff",
)
_OF_PILLOW = (b".gif", b".webp", b".tif", b".tiff")
# Arrays of NumPy count as images only where the channels of the images are described.
ARRAY_SUFFIX = ".npy"


def suffixes_of(channels: Channels) -> tuple[str, ...]:
    """Returns the suffixes of files that can contain images with these channels."""
    return IMAGE_SUFFIXES if channels.is_photograph else (*IMAGE_SUFFIXES, ARRAY_SUFFIX)


def is_image_name(name: str, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> bool:
    """Whether a file name, without folders, has one of the suffixes (in upper or lower case) and is not hidden."""
    return not is_hidden(name) and name.lower().endswith(suffixes)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden, and therefore skipped."""
    return name.startswith(".")


def passed_over(names: Iterable[str], suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> str:
    """Message about files that are not images, e.g. `Skipped files of other types: 48 (40 .txt, 8 .xml)`; empty if there are none."""
    counted = collections.Counter(
        os.path.splitext(name)[1].lower() or "without a suffix"
        for name in names
        if not is_hidden(name) and not is_image_name(name, suffixes)
    )
    counts = ", ".join(f"{count} {suffix}" for suffix, count in counted.most_common())
    return f"Skipped files of other types: {counted.total()} ({counts})" if counted else ""


def needs_pillow(name: bytes) -> bool:
    """Whether the suffix of a file is that of a format that TensorFlow does not decode."""
    return name.lower().endswith(_OF_PILLOW)


def decode(encoded: tf.Tensor, pillow: bool = True, channels: Channels = RGB) -> tf.Tensor:
    """Decodes an image to 8 bits per channel.

    To RGB: greyscale images get three equal channels, CMYK is converted, 16-bit values are reduced to their upper 8 bits, alpha is dropped
    without blending, and only the first frame of an animation is decoded. Images are turned as an EXIF orientation says.

    Images with other channels, or another range, must have exactly these channels; see `stored_values.read`. Their values are scaled
    by the range of the channels.

    Args:
        encoded: string scalar, a JPEG, PNG or BMP, or with `pillow` a GIF, WebP, TIFF or a BMP with a palette.
        pillow: whether to decode what only Pillow decodes. It does so in this process; a graph that other processes run must do without.
        channels: channels of the image.

    Returns:
        uint8 `[H, W, C]`.

    Raises:
        tf.errors.InvalidArgumentError: if the image is damaged or of another format, if its header declares more than
            `limits.current().max_megapixels`, or if it has other channels.
    """
    image = _decode_rgb(encoded, pillow) if channels.is_photograph else _scaled(encoded, channels)
    image.set_shape([None, None, channels.count])
    return image


def decode_turned(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes a photograph that an EXIF tag rotates, of any format, as Pillow's `exif_transpose` shows it; otherwise see `decode`."""
    image = by_python(
        lambda content: pillow_images.decode(content, pillow_images.ALL), encoded, tf.uint8
    )
    image.set_shape([None, None, RGB.count])
    return image


def _scaled(encoded: tf.Tensor, channels: Channels) -> tf.Tensor:
    """Reads an image with other channels than RGB in 8 bits, and scales its values to 0..255."""

    def read(content: bytes) -> np.ndarray:
        values = stored_values.read(content, channels.count)
        return stored_values.scaled(values, channels.low, channels.high)

    return by_python(read, encoded, tf.uint8)


def _decode_rgb(encoded: tf.Tensor, pillow: bool) -> tf.Tensor:
    def jpeg() -> tf.Tensor:
        with tf.control_dependencies([_assert_size(tf.io.extract_jpeg_shape(encoded)[:2])]):
            # The accurate inverse DCT, which Pillow also uses; TensorFlow's default trades accuracy for speed.
            stored = tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")
        return image_headers.upright(stored, image_headers.jpeg_orientation(encoded))

    def other() -> tf.Tensor:
        header = image_headers.Header(encoded)

        def by_tensorflow() -> tf.Tensor:
            with tf.control_dependencies([_assert_size(header.size())]):
                return tf.io.decode_image(encoded, channels=3, expand_animations=False)

        if pillow:
            return tf.cond(header.is_of_pillow(), by_pillow, by_tensorflow)
        known = tf.debugging.Assert(
            ~header.is_of_pillow(),
            [
                "GIF, WebP, TIFF and palette BMP images are not supported by data services and remote TPUs"
            ],
        )
        with tf.control_dependencies([known]):
            return by_tensorflow()

    def by_pillow() -> tf.Tensor:
        return by_python(pillow_images.decode, encoded, tf.uint8)

    return tf.cond(tf.io.is_jpeg(encoded), jpeg, other)


def by_python(function: Callable[[Any], Any], value: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Applies a Python function to a scalar, in a graph or outside of it; its `ValueError` becomes one of TensorFlow's errors in both.

    Args:
        function: function of a string as bytes, or of a number.
        value: its argument.
        dtype: type of what it returns.
    """
    if tf.executing_eagerly():
        # Outside a graph, TensorFlow does not turn errors into its own.
        try:
            return tf.constant(function(tf.convert_to_tensor(value).numpy()), dtype)
        except ValueError as error:
            raise tf.errors.InvalidArgumentError(None, None, str(error)) from error
    # With deterministic operations, tf.data does not run anything in parallel that has a state.
    return tf.numpy_function(function, [value], dtype, stateful=False)


def _assert_size(height_and_width: tf.Tensor) -> tf.Operation:
    """Fails if an image has too many pixels: decoding takes 17 bytes for each one that the header declares, however small the file is."""
    limit = limits.current().max_megapixels
    height, width = tf.unstack(tf.cast(height_and_width, tf.int64))
    size = [tf.strings.as_string(width), " x ", tf.strings.as_string(height)]
    return tf.debugging.Assert(
        height * width <= limit * 10**6,
        [
            tf.strings.join(
                [
                    "the image has ",
                    *size,
                    f" pixels, more than --max_megapixels={limit} allows",
                ]
            )
        ],
    )
