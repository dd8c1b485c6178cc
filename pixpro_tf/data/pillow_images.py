"""Images of formats that TensorFlow does not decode, or decodes without a limit, read by Pillow."""

import contextlib
import io
import threading
from collections.abc import Iterator

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from pixpro_tf.data import limits
from pixpro_tf.errors import first_line

# Pillow reads many other formats with code that has had little review. It knows those that are named only once their modules are imported.
FORMATS = (
    # TensorFlow decodes all frames of a GIF, whatever memory they take.
    GifImagePlugin.GifImageFile.format,
    WebPImagePlugin.WebPImageFile.format,
    TiffImagePlugin.TiffImageFile.format,
    BmpImagePlugin.BmpImageFile.format,
)
# With those that TensorFlow decodes.
ALL = ("JPEG", "PNG", *FORMATS)
GIF = b"GIF8"
# First bytes of a TIFF, with offsets of 32 and of 64 bits.
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# Tags of TIFF, and values of the last two.
_BITS, _COMPRESSION, _PHOTOMETRIC, _PLANES = 258, 259, 262, 284
_WHITE_IS_0 = 0
# EXIF tag of the orientation, and how an image is turned for each of its values.
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Orientations that exchange width and height.
SIDEWAYS = (5, 6, 7, 8)
# A PNG of a photograph takes five to ten times the space of its JPEG. At this quality and with full colour resolution, the second compression
# is not visible.
_JPEG = {"quality": 95, "subsampling": "4:4:4"}
# Pillow has a limit of its own, for the whole process.
_limit = threading.Lock()


def is_one(encoded: bytes) -> bool:
    """Whether only Pillow decodes a file, by its first bytes: GIF, WebP, TIFF, and BMP with a palette, 16 bits or compression."""
    if encoded[:2] == b"BM":
        bits, compression = (
            int.from_bytes(encoded[a:b], "little") for a, b in ((28, 30), (30, 34))
        )
        return bits not in (24, 32) or compression != 0
    return encoded.startswith((GIF, *TIFF)) or (encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP")


@contextlib.contextmanager
def opened(encoded: bytes, formats: tuple[str, ...] = FORMATS) -> Iterator[Image.Image]:
    """Opens an image for the duration of the block.

    Args:
        encoded: contents of the file.
        formats: Pillow's names of the formats that the image can have.

    Raises:
        limits.TooLarge: if the image has too many pixels.
        ValueError: if it is found to be damaged, here or in the block.
    """
    try:
        with _without_limit():
            opened = Image.open(io.BytesIO(encoded), formats=formats)
        with opened as image:
            limits.check_pixels(*image.size)
            yield image
    except UnidentifiedImageError:
        known = f"{', '.join(formats[:-1])} or {formats[-1]}"
        raise ValueError(f"damaged, or not a {known}") from None
    except (ValueError, MemoryError):
        raise
    except Exception as error:
        # Damaged files and metadata make Pillow raise errors of almost any type.
        raise ValueError(f"damaged: {first_line(error)}") from None


@contextlib.contextmanager
def _without_limit() -> Iterator[None]:
    """Lets Pillow read the header of an image of any size, without its error or warning; nothing is decoded in the block."""
    with _limit:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def orientation_of(image: Image.Image) -> int:
    """Returns the EXIF orientation of an image, from 1 (stored as it is shown) to 8; 1 if there is none."""
    found = image.getexif().get(_ORIENTATION)
    return found if found in _TURNS else 1


def decode(encoded: bytes, formats: tuple[str, ...] = FORMATS) -> np.ndarray:
    """Decodes an image to RGB as it is shown, uint8 `[H, W, 3]`; of several images in a file, the first one.

    Args:
        encoded: contents of the file.
        formats: see `opened`.

    Raises:
        ValueError: if the image is damaged, too large, or of a kind that cannot be reduced to 8-bit RGB.
    """
    with opened(encoded, formats) as image:
        image.load()
        # Pillow turns some formats while it loads them, and then says so.
        turn = _TURNS.get(orientation_of(image))
        shown = rgb(image)
    # The decoder of a format can take as much memory as the image.
    del image
    return np.asarray(shown if turn is None else shown.transpose(turn))


def png_of(encoded: bytes) -> bytes:
    """Converts an image to a PNG with the same pixels; the arguments and errors are those of `decode`."""
    file = io.BytesIO()
    Image.fromarray(decode(encoded)).save(file, "PNG")
    return file.getvalue()


def as_shown(encoded: bytes) -> bytes:
    """Encodes an image of any format again as it is shown, without an EXIF orientation; the errors are those of `decode`.

    Returns:
        A JPEG if it was one, otherwise a PNG with the same pixels.
    """
    image, file = Image.fromarray(decode(encoded, ALL)), io.BytesIO()
    if encoded.startswith(b"\xff\xd8"):
        image.save(file, "JPEG", **_JPEG)
    else:
        image.save(file, "PNG")
    return file.getvalue()


def rgb(image: Image.Image) -> Image.Image:
    """Converts an image to 8-bit RGB; raises `ValueError` if its pixels have 32 bits."""
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS, (8,))
    if max(bits) > 8 and len(bits) > 1 and (tags.get(_PLANES), tags.get(_COMPRESSION)) == (2, 1):
        # Pillow takes each byte of a plane for a pixel.
        raise ValueError(
            "its channels of 16 bits are stored as planes without compression; save it with its channels side by side, or compressed"
        )
    if image.mode.startswith("I;16"):
        # The upper 8 bits, as TensorFlow takes them from a PNG; Pillow itself would cut off at 255. Cameras and microscopes also write 12 bits.
        used = bits[0] if 8 < bits[0] < 16 else 16
        values: np.ndarray = np.asarray(image).astype(np.uint16)
        if tags.get(_PHOTOMETRIC) == _WHITE_IS_0:
            # Pillow does this only for images of 8 bits.
            values = ((1 << used) - 1 - values).astype(np.uint16)
        upper = (values >> (used - 8)).astype(np.uint8)
        return Image.fromarray(upper).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError("its pixels have 32 bits; save the image with 8 or 16 bits per channel")
    return image.convert("RGB")
