"""Encoded images: which files count as images, and how they are decoded."""

import collections
import os
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from pixpro_tf.data import image_headers, pillow_images

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
_OF_PILLOW = (b".webp", b".tif", b".tiff")
# Decoding takes 17 bytes for each pixel that the file's header declares, however small the file is.
MAX_MEGAPIXELS = 100


def is_image_name(name: str) -> bool:
    """Whether a file name, without folders, has an image suffix (in upper or lower case) and is not hidden."""
    return not is_hidden(name) and name.lower().endswith(IMAGE_SUFFIXES)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden, and therefore skipped."""
    return name.startswith(".")


def passed_over(names: Iterable[str]) -> str:
    """Message about files that are not images, e.g. `Skipped 48 files: 40 .webp, 8 .tif`; empty if there are none."""
    suffixes = collections.Counter(
        os.path.splitext(name)[1].lower() or "without a suffix"
        for name in names
        if not is_hidden(name) and not is_image_name(name)
    )
    counts = ", ".join(f"{count} {suffix}" for suffix, count in suffixes.most_common())
    return f"Skipped {suffixes.total()} files: {counts}" if suffixes else ""


def needs_pillow(name: bytes) -> bool:
    """Whether the suffix of a file is that of a format that TensorFlow does not decode."""
    return name.lower().endswith(_OF_PILLOW)


def decode(encoded: tf.Tensor, pillow: bool = True) -> tf.Tensor:
    """Decodes an image to RGB.

    Greyscale images get three equal channels, CMYK is converted, 16-bit values are reduced to their upper 8 bits, alpha is dropped
    without blending, and only the first frame of an animation is decoded. Images are turned as an EXIF orientation says.

    Args:
        encoded: string scalar, a JPEG, PNG, GIF or BMP, or with `pillow` a WebP or TIFF.
        pillow: whether WebP and TIFF are decoded. Pillow decodes them, in this process; a graph that other processes run must do without.

    Returns:
        uint8 `[H, W, 3]`.

    Raises:
        tf.errors.InvalidArgumentError: if the image is damaged or of another format, or if its header declares more than
            `MAX_MEGAPIXELS` megapixels.
    """

    def jpeg() -> tf.Tensor:
        with tf.control_dependencies([_assert_size(tf.io.extract_jpeg_shape(encoded)[:2])]):
            # The accurate inverse DCT, which Pillow also uses; TensorFlow's default trades accuracy for speed.
            stored = tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")
        return image_headers.upright(stored, image_headers.jpeg_orientation(encoded))

    def other() -> tf.Tensor:
        header = image_headers.Header(encoded)

        def by_tensorflow() -> tf.Tensor:
            with tf.control_dependencies([_assert_size(header.size())]):
                return tf.cond(header.is_palette_bmp, header.decode_palette_bmp, by_contents)

        return (
            tf.cond(header.is_of_pillow(), by_pillow, by_tensorflow) if pillow else by_tensorflow()
        )

    def by_contents() -> tf.Tensor:
        return tf.io.decode_image(encoded, channels=3, expand_animations=False)

    def by_pillow() -> tf.Tensor:
        # With deterministic operations, tf.data does not run anything in parallel that has a state.
        return tf.numpy_function(_decode_by_pillow, [encoded], tf.uint8, stateful=False)

    image = tf.cond(tf.io.is_jpeg(encoded), jpeg, other)
    image.set_shape([None, None, 3])
    return image


def _decode_by_pillow(encoded: bytes | np.ndarray) -> np.ndarray:
    # Outside a graph, TensorFlow passes an array that contains the bytes, and does not turn errors into its own.
    if isinstance(encoded, bytes):
        return pillow_images.decode(encoded, MAX_MEGAPIXELS)
    try:
        return pillow_images.decode(encoded.item(), MAX_MEGAPIXELS)
    except ValueError as error:
        raise tf.errors.InvalidArgumentError(None, None, str(error)) from error


def _assert_size(height_and_width: tf.Tensor) -> tf.Operation:
    """Fails if an image has more than `MAX_MEGAPIXELS` megapixels."""
    height, width = tf.unstack(tf.cast(height_and_width, tf.int64))
    size = [tf.strings.as_string(width), " x ", tf.strings.as_string(height)]
    return tf.debugging.Assert(
        height * width <= MAX_MEGAPIXELS * 10**6,
        [
            tf.strings.join(
                [
                    "the image has ",
                    *size,
                    f" pixels; at most {MAX_MEGAPIXELS} million are supported",
                ]
            )
        ],
    )
