"""Images of formats that TensorFlow does not decode, read by Pillow."""

import contextlib
import io
from collections.abc import Iterator

import numpy as np
from PIL import BmpImagePlugin, Image, ImageOps, TiffImagePlugin, WebPImagePlugin

# Pillow reads many other formats with code that has had little review. It knows those that are named only once their modules are imported.
FORMATS = (
    WebPImagePlugin.WebPImageFile.format,
    TiffImagePlugin.TiffImageFile.format,
    BmpImagePlugin.BmpImageFile.format,
)
# First bytes of a TIFF, with offsets of 32 and of 64 bits.
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
TOO_LARGE = "the image has {} x {} pixels; at most {} million are supported"


def is_one(encoded: bytes) -> bool:
    """Whether only Pillow decodes a file, by its first bytes: WebP, TIFF, and BMP with a palette, 16 bits or compression."""
    if encoded[:2] == b"BM":
        bits, compression = (
            int.from_bytes(encoded[a:b], "little") for a, b in ((28, 30), (30, 34))
        )
        return bits not in (24, 32) or compression != 0
    return encoded.startswith(TIFF) or (encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP")


@contextlib.contextmanager
def opened(
    encoded: bytes, max_megapixels: int, formats: tuple[str, ...] = FORMATS
) -> Iterator[Image.Image]:
    """Opens an image for the duration of the block.

    Args:
        encoded: contents of the file.
        max_megapixels: largest number of megapixels that are decoded.
        formats: Pillow's names of the formats that the image can have.

    Raises:
        ValueError: if the image is too large, or is found to be damaged, here or in the block.
    """
    try:
        with Image.open(io.BytesIO(encoded), formats=formats) as image:
            width, height = image.size
            if width * height > max_megapixels * 10**6:
                raise ValueError(TOO_LARGE.format(width, height, max_megapixels))
            yield image
    except Image.DecompressionBombError as error:
        raise ValueError(str(error)) from None
    except (OSError, SyntaxError, EOFError) as error:
        known = f"{', '.join(formats[:-1])} or {formats[-1]}"
        raise ValueError(f"damaged, or not a {known}: {error}") from None


def decode(encoded: bytes, max_megapixels: int) -> np.ndarray:
    """Decodes an image of one of the `FORMATS` to RGB, uint8 `[H, W, 3]`; of several images in a file, the first one.

    Args:
        encoded: contents of the file.
        max_megapixels: largest number of megapixels that are decoded.

    Raises:
        ValueError: if the image is damaged, too large, or of a kind that cannot be reduced to 8-bit RGB.
    """
    with opened(encoded, max_megapixels) as image:
        return np.asarray(rgb(ImageOps.exif_transpose(image)))


def png_of(encoded: bytes, max_megapixels: int) -> bytes:
    """Converts an image to a PNG with the same pixels; the arguments and errors are those of `decode`."""
    file = io.BytesIO()
    Image.fromarray(decode(encoded, max_megapixels)).save(file, "PNG")
    return file.getvalue()


def rgb(image: Image.Image) -> Image.Image:
    """Converts an image to 8-bit RGB; raises `ValueError` if its pixels have 32 bits."""
    if image.mode.startswith("I;16"):
        # The upper 8 bits, as TensorFlow takes them from a PNG; Pillow itself would cut off at 255.
        upper = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        return Image.fromarray(upper).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError("pixels of 32 bits; save the image with 8 or 16 bits per channel")
    return image.convert("RGB")
