"""What the first bytes of an image file say, before anything is decoded."""

import tensorflow as tf

_START = 54
# Number of segments that are searched, and of tags in their directory.
_SEGMENTS, _ENTRIES, _ORIENTATION = 32, 64, 0x0112
# EXIF data are the first segment of a JPEG, or follow others, of which some are long; `\C` matches any byte.
_START_OF_METADATA = 1024
_METADATA = r"\C*(Exif\x00\x00|ICC_PROFILE|Photoshop|http://)\C*"


class Header:
    """Properties that the first bytes of a file declare.

    Args:
        encoded: string scalar, the contents of the file.
    """

    def __init__(self, encoded: tf.Tensor) -> None:
        self._encoded = encoded
        head = tf.io.decode_raw(encoded, tf.uint8, fixed_length=_START)
        self._bytes = tf.cast(head, tf.int64)
        self._is_bmp = self._starts_with(b"BM")

    def is_of_pillow(self) -> tf.Tensor:
        """Whether the file is one that TensorFlow does not decode to its pixels; `pillow_images.is_one` says the same."""
        is_webp = self._starts_with(b"RIFF") & tf.reduce_all(self._bytes[8:12] == list(b"WEBP"))
        others = (b"GIF8", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
        is_other = [self._starts_with(start) for start in others]
        bits, compression = self._little(28, 2), self._little(30, 4)
        is_plain = ((bits == 24) | (bits == 32)) & (compression == 0)
        return tf.reduce_any([is_webp, *is_other, self._is_bmp & ~is_plain])

    def size(self) -> tf.Tensor:
        """Height and width of a PNG or BMP, `[2]` int64; 0 for any other file, which is not an image."""
        png = self._starts_with(b"\x89PNG")

        def of(in_png: int, in_bmp: int) -> tf.Tensor:
            signed = self._little(in_bmp, 4)
            # A BMP whose rows are stored from top to bottom has a negative height.
            of_bmp = tf.where(self._is_bmp, tf.minimum(signed, 2**32 - signed), 0)
            return tf.where(png, self._big(in_png, 4), of_bmp)

        return tf.stack([of(20, 22), of(16, 18)])

    def _starts_with(self, text: bytes) -> tf.Tensor:
        return tf.reduce_all(self._bytes[: len(text)] == list(text))

    def _little(self, place: int, size: int) -> tf.Tensor:
        return tf.reduce_sum(self._bytes[place : place + size] * [256**i for i in range(size)])

    def _big(self, place: int, size: int) -> tf.Tensor:
        powers = [256**i for i in reversed(range(size))]
        return tf.reduce_sum(self._bytes[place : place + size] * powers)


def jpeg_orientation(encoded: tf.Tensor) -> tf.Tensor:
    """Returns the orientation in the EXIF data of a JPEG: an int64 scalar from 1 (stored as it is shown) to 8; 1 if there is none.

    Args:
        encoded: string scalar, the contents of the file.

    Source: the EXIF standard (CIPA DC-008), sections 4.5 and 4.6.
    """
    # Most images have no EXIF data, and one operation tells.
    may_have_exif = tf.strings.regex_full_match(
        tf.strings.substr(encoded, 0, _START_OF_METADATA), _METADATA
    )
    return tf.cond(may_have_exif, lambda: _orientation_in_segments(encoded), _not_turned)


def _not_turned() -> tf.Tensor:
    return tf.constant(1, tf.int64)


def _orientation_in_segments(encoded: tf.Tensor) -> tf.Tensor:
    end = _length(encoded)

    def search(place: tf.Tensor, found: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        head = _bytes_at(encoded, place, 10)
        # Segments of metadata begin with the byte 255 and their kind, 0xE0 to 0xEF, or 0xFE for a comment, and their length.
        kind = head[1]
        is_metadata = (head[0] == 0xFF) & (((kind >= 0xE0) & (kind <= 0xEF)) | (kind == 0xFE))
        is_exif = (kind == 0xE1) & tf.reduce_all(head[4:10] == list(b"Exif\0\0"))
        found = tf.where(is_metadata & is_exif, place + 10, found)
        # Anything else ends the search.
        return tf.where(is_metadata, place + 2 + _number(head[2:4], False), end), found

    _, found = tf.while_loop(
        lambda place, found: (found < 0) & (place < end),
        search,
        (tf.constant(2, tf.int64), tf.constant(-1, tf.int64)),
        maximum_iterations=_SEGMENTS,
    )
    return tf.cond(found < 0, _not_turned, lambda: _orientation(encoded, found))


def _orientation(encoded: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """Returns the orientation in EXIF data, which begin at a place of a file with a header like that of a TIFF."""
    head = _bytes_at(encoded, start, 8)
    is_little = tf.reduce_all(head[:2] == list(b"II"))
    directory = start + _number(head[4:8], is_little)
    count = tf.minimum(_number(_bytes_at(encoded, directory, 2), is_little), _ENTRIES)
    # An entry has two bytes for its tag, two for its type, four for its count and four for its value.
    entries = tf.reshape(_bytes_at(encoded, directory + 2, 12 * _ENTRIES), [_ENTRIES, 12])
    tags, values = _number(entries[:, :2], is_little), _number(entries[:, 8:10], is_little)
    is_tag = (tags == _ORIENTATION) & (tf.range(_ENTRIES, dtype=tf.int64) < count)
    value = tf.reduce_max(tf.where(is_tag, values, 1))
    return tf.where((value >= 1) & (value <= 8), value, 1)


def upright(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Turns and mirrors an image as its orientation says.

    Args:
        image: `[H, W, C]`, as it is stored.
        orientation: integer scalar from 1 to 8; see `jpeg_orientation`.
    """

    def is_one_of(*values: int) -> tf.Tensor:
        return tf.reduce_any(orientation == tf.constant(values, orientation.dtype))

    def turned() -> tf.Tensor:
        shown = tf.cond(
            is_one_of(5, 6, 7, 8), lambda: tf.transpose(image, [1, 0, 2]), lambda: image
        )
        shown = tf.cond(is_one_of(2, 3, 6, 7), lambda: tf.reverse(shown, [1]), lambda: shown)
        return tf.cond(is_one_of(3, 4, 7, 8), lambda: tf.reverse(shown, [0]), lambda: shown)

    return tf.cond(orientation == 1, lambda: image, turned)


def _length(encoded: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.strings.length(encoded), tf.int64)


def _bytes_at(encoded: tf.Tensor, place: tf.Tensor, count: int) -> tf.Tensor:
    """Returns the bytes from a place of a file on, int64 `[count]`; 0 beyond its end."""
    inside = tf.clip_by_value(place, 0, _length(encoded))
    part = tf.strings.substr(encoded, inside, count)
    return tf.cast(tf.io.decode_raw(part, tf.uint8, fixed_length=count), tf.int64)


def _number(digits: tf.Tensor, is_little: tf.Tensor | bool) -> tf.Tensor:
    """Returns the numbers with the given bytes, int64 `[...]` from `[..., n]`, in either order of bytes."""
    powers = tf.constant([256**power for power in range(digits.shape[-1])], tf.int64)
    return tf.reduce_sum(digits * tf.where(is_little, powers, powers[::-1]), axis=-1)
