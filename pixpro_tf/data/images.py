"""Encoded images: which files count as images, and how they are decoded."""

import collections
import os
from collections.abc import Iterable

import tensorflow as tf

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp")
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


def decode(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes an image to RGB.

    Greyscale images get three equal channels, CMYK is converted, 16-bit values are reduced to their upper 8 bits, alpha is dropped
    without blending, and only the first frame of an animation is decoded. Orientation tags are ignored, as in the authors' code.

    Args:
        encoded: string scalar, a JPEG, PNG, GIF or BMP.

    Returns:
        uint8 `[H, W, 3]`.

    Raises:
        tf.errors.InvalidArgumentError: if the image is damaged or of another format, or if its header declares more than
            `MAX_MEGAPIXELS` megapixels.
    """

    def jpeg() -> tf.Tensor:
        with tf.control_dependencies([_assert_size(tf.io.extract_jpeg_shape(encoded)[:2])]):
            # The accurate inverse DCT, which Pillow also uses; TensorFlow's default trades accuracy for speed.
            return tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")

    def other() -> tf.Tensor:
        head = _Head(encoded)
        with tf.control_dependencies([_assert_size(head.size())]):
            return tf.cond(head.is_palette_bmp, head.decode_palette_bmp, by_tensorflow)

    def by_tensorflow() -> tf.Tensor:
        return tf.io.decode_image(encoded, channels=3, expand_animations=False)

    image = tf.cond(tf.io.is_jpeg(encoded), jpeg, other)
    image.set_shape([None, None, 3])
    return image


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


class _Head:
    """Properties that the first bytes of a file declare, before anything is decoded.

    Args:
        encoded: string scalar, the contents of the file.
    """

    _SIZE = 54

    def __init__(self, encoded: tf.Tensor) -> None:
        self._encoded = encoded
        head = tf.io.decode_raw(encoded, tf.uint8, fixed_length=self._SIZE)
        self._bytes = tf.cast(head, tf.int64)
        self._is_bmp = self._starts_with(b"BM")
        self.is_palette_bmp = self._is_bmp & (self._little(28, 2) == 8)

    def size(self) -> tf.Tensor:
        """Height and width of a PNG, GIF or BMP, `[2]` int64; 0 for any other file, which is not an image."""
        png = self._starts_with(b"\x89PNG")
        gif = self._starts_with(b"GIF8")

        def of(in_png: int, in_gif: int, in_bmp: int) -> tf.Tensor:
            signed = self._little(in_bmp, 4)
            # A BMP whose rows are stored from top to bottom has a negative height.
            of_bmp = tf.where(self._is_bmp, tf.minimum(signed, 2**32 - signed), 0)
            return tf.where(
                png, self._big(in_png, 4), tf.where(gif, self._little(in_gif, 2), of_bmp)
            )

        return tf.stack([of(20, 8, 22), of(16, 6, 18)])

    def decode_palette_bmp(self) -> tf.Tensor:
        """Colours of an 8-bit BMP, `[H, W, 3]` uint8; TensorFlow itself decodes it to indices into the palette."""
        is_plain = tf.debugging.Assert(
            self._little(30, 4) == 0, ["run-length encoded BMP files are not supported"]
        )
        with tf.control_dependencies([is_plain]):
            places = tf.io.decode_bmp(self._encoded)[..., 0]
        return tf.gather(self._palette(), tf.cast(places, tf.int32))

    def _palette(self) -> tf.Tensor:
        """Palette of an 8-bit BMP, `[256, 3]` uint8; entries that the file does not contain are black."""
        count = self._little(46, 4)
        count = tf.where((count == 0) | (count > 256), tf.constant(256, tf.int64), count)
        # The palette follows the 14-byte file header and the image header, which declares its own size. Entries are blue, green, red and an
        # unused byte.
        place = 14 + self._little(14, 4)
        entries = tf.strings.substr(self._encoded, place, 4 * count)
        colours = tf.io.decode_raw(entries, tf.uint8, fixed_length=1024)
        return tf.reverse(tf.reshape(colours, [256, 4])[:, :3], axis=[1])

    def _starts_with(self, text: bytes) -> tf.Tensor:
        return tf.reduce_all(self._bytes[: len(text)] == list(text))

    def _little(self, place: int, size: int) -> tf.Tensor:
        return tf.reduce_sum(self._bytes[place : place + size] * [256**i for i in range(size)])

    def _big(self, place: int, size: int) -> tf.Tensor:
        powers = [256**i for i in reversed(range(size))]
        return tf.reduce_sum(self._bytes[place : place + size] * powers)
