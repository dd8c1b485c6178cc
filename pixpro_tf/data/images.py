"""Encoded images: which files are taken for one, and what their pixels mean."""

import collections
import os
from collections.abc import Iterable

import tensorflow as tf

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp")
# What a file declares is what decoding it takes, 17 bytes a pixel, whatever the file's own size.
MAX_MEGAPIXELS = 100


def is_image_name(name: str) -> bool:
    """Whether a file's name, without folders, is that of an image; the suffix counts in any case, and hidden files do not."""
    return not is_hidden(name) and name.lower().endswith(IMAGE_SUFFIXES)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is to be passed over."""
    return name.startswith(".")


def passed_over(names: Iterable[str]) -> str:
    """What is said of files that are no images, of which there may be none: `Passed over 48 files: 40 .webp, 8 .tif`."""
    suffixes = collections.Counter(
        os.path.splitext(name)[1].lower() or "without a suffix"
        for name in names
        if not is_hidden(name) and not is_image_name(name)
    )
    counts = ", ".join(f"{count} {suffix}" for suffix, count in suffixes.most_common())
    return f"Passed over {suffixes.total()} files: {counts}" if suffixes else ""


def decode(encoded: tf.Tensor) -> tf.Tensor:
    """An encoded image as RGB.

    Grey becomes three equal channels, CMYK is converted, 16 bits are reduced to the upper 8, alpha is dropped without blending,
    and of an animation the first frame counts. Orientation tags are not followed (nor are they by the authors).

    Args:
        encoded: string scalar, JPEG, PNG, GIF or BMP.

    Returns:
        uint8 `[H, W, 3]`.

    Raises:
        tf.errors.InvalidArgumentError: if it is damaged or something else, or its header declares more than `MAX_MEGAPIXELS`.
    """

    def jpeg() -> tf.Tensor:
        with tf.control_dependencies([_assert_size(tf.io.extract_jpeg_shape(encoded)[:2])]):
            # The accurate inverse DCT, which Pillow uses too; TensorFlow's default trades digits for speed.
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
    """Fails where an image has too many pixels."""
    height, width = tf.unstack(tf.cast(height_and_width, tf.int64))
    size = [tf.strings.as_string(width), " x ", tf.strings.as_string(height)]
    return tf.debugging.Assert(
        height * width <= MAX_MEGAPIXELS * 10**6,
        [
            tf.strings.join(
                ["the image has ", *size, f" pixels; at most {MAX_MEGAPIXELS} million are read"]
            )
        ],
    )


class _Head:
    """What the first bytes of a file declare, before anything is decoded.

    Args:
        encoded: string scalar.
    """

    _SIZE = 54

    def __init__(self, encoded: tf.Tensor) -> None:
        self._encoded = encoded
        head = tf.io.decode_raw(encoded, tf.uint8, fixed_length=self._SIZE)
        self._bytes = tf.cast(head, tf.int64)
        self._is_bmp = self._starts_with(b"BM")
        self.is_palette_bmp = self._is_bmp & (self._little(28, 2) == 8)

    def size(self) -> tf.Tensor:
        """Height and width of a PNG, a GIF or a BMP, `[2]` int64; 0 of anything else, which is no image."""
        png = self._starts_with(b"\x89PNG")
        gif = self._starts_with(b"GIF8")

        def of(in_png: int, in_gif: int, in_bmp: int) -> tf.Tensor:
            signed = self._little(in_bmp, 4)
            # A BMP whose rows go down has a negative height.
            of_bmp = tf.where(self._is_bmp, tf.minimum(signed, 2**32 - signed), 0)
            return tf.where(
                png, self._big(in_png, 4), tf.where(gif, self._little(in_gif, 2), of_bmp)
            )

        return tf.stack([of(20, 8, 22), of(16, 6, 18)])

    def decode_palette_bmp(self) -> tf.Tensor:
        """The colours, where TensorFlow gives their places in the palette; `[H, W, 3]` uint8."""
        is_plain = tf.debugging.Assert(self._little(30, 4) == 0, ["a BMP of run lengths"])
        with tf.control_dependencies([is_plain]):
            places = tf.io.decode_bmp(self._encoded)[..., 0]
        return tf.gather(self._palette(), tf.cast(places, tf.int32))

    def _palette(self) -> tf.Tensor:
        """Colours of a BMP of 8 bits, `[256, 3]` uint8; black where it has fewer."""
        count = self._little(46, 4)
        count = tf.where((count == 0) | (count > 256), tf.constant(256, tf.int64), count)
        # Behind the file's header and its own, whose size it says; blue, green, red and a byte that is not used.
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
