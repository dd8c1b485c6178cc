"""Values of images as they are stored, with any number of channels, from NumPy files, TIFF and other formats."""

import contextlib
import io

import numpy as np
from PIL import JpegImagePlugin, PngImagePlugin

from pixpro_tf.data import limits, pillow_images
from pixpro_tf.errors import first_line

_ARRAY = b"\x93NUMPY"
_NO_DATA, _ORIENTATION = 42113, 274  # tags of TIFF; the first is GDAL's
_WHITE_IS_0, _PALETTE = 0, 3  # photometric interpretations of TIFF
_PILLOW = (
    *pillow_images.FORMATS,
    *(
        plugin.format
        for plugin in (
            JpegImagePlugin.JpegImageFile,
            PngImagePlugin.PngImageFile,
        )
    ),
)
# Modes of Pillow whose arrays contain the stored values.
_MODES = ("L", "I;16", "I;16B", "I;16L", "I", "F", "LA", "RGB", "RGBA")
# Number of rows that are scaled at once.
_ROWS = 256
# Colour types of PNG with several channels, of which Pillow reads 8 bits only.
_PNG_WITH_SEVERAL = (2, 4, 6)


def read(encoded: bytes, count: int | None = None) -> np.ndarray:
    """Reads the values of an image, without converting or scaling them.

    NumPy's `.npy` files contain `[H, W]`, `[H, W, C]` or `[C, H, W]`. Without `count`, an image is taken to be square if two axes are equal, and
    otherwise to have fewer channels than rows and columns; if the first and the last axis could both be the channels, it is the last.
    TIFF and GeoTIFF need the package tifffile (and imagecodecs if they are compressed); bands may be stored as pixels, as planes or as
    pages. Alpha counts as a channel. Indexed colours are resolved.

    Args:
        encoded: contents of the file.
        count: number of channels that the image must have; None for any.

    Returns:
        `[H, W, C]` of a real number format. Values that are missing according to a GeoTIFF are NaN, in float32 or float64.

    Raises:
        ValueError: if the image is damaged, too large, of another format, or has another number of channels.
    """
    return read_with_type(encoded, count)[0]


def read_with_type(encoded: bytes, count: int | None = None) -> tuple[np.ndarray, np.dtype]:
    """Returns what `read` returns, and the type in which the file stores the values, which has no NaN if it is one of integers."""
    missing = ""
    if encoded.startswith(_ARRAY):
        values = _read_array(encoded, count)
    elif encoded.startswith(pillow_images.TIFF):
        values, missing = _read_tiff(encoded, count)
    else:
        values = _read_by_pillow(encoded, count)
    if values.dtype.kind not in "uif":
        raise ValueError(f"its values have the type {values.dtype}; save integers or floats")
    return _without(values, missing), values.dtype


def scaled(values: np.ndarray, low: tuple[float, ...], high: tuple[float, ...]) -> np.ndarray:
    """Scales values to 0..255: `low` of a channel becomes 0 and `high` 255, values beyond are limited, and missing ones become 0.

    Args:
        values: `[H, W, C]`.
        low, high: range of each channel.

    Returns:
        uint8 `[H, W, C]`.
    """
    below, above = np.asarray(low, np.float32), np.asarray(high, np.float32)
    result = np.empty(values.shape, np.uint8)
    # A large image as a whole would take several times its memory.
    for start in range(0, len(values), _ROWS):
        rows = values[start : start + _ROWS].astype(np.float32)
        relative = (rows - below) * (255 / (above - below))
        scaled = np.clip(np.nan_to_num(relative, posinf=255.0), 0, 255)
        result[start : start + _ROWS] = np.rint(scaled)
    return result


def _read_array(encoded: bytes, count: int | None) -> np.ndarray:
    file = io.BytesIO(encoded)
    try:
        # NumPy itself allocates whatever the header declares, before it looks how much follows.
        version = np.lib.format.read_magic(file)
        read_header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read_header(file)
    except Exception as error:
        raise _unreadable(error) from None
    axes = _axes_of_array(shape, count)
    _check(shape[axes[0]], shape[axes[1]], shape[axes[2]] if len(axes) == 3 else 1, dtype)
    if dtype.hasobject:
        raise ValueError("it contains Python objects; save integers or floats")
    try:
        flat = np.frombuffer(encoded, dtype, int(np.prod(shape, dtype=np.int64)), file.tell())
    except ValueError as error:
        raise _unreadable(error) from None
    array = flat.reshape(shape, order="F" if fortran else "C")
    return array.transpose(axes) if array.ndim == 3 else array[..., np.newaxis]


def _unreadable(error: Exception) -> ValueError:
    """Returns the error for a file that another library cannot read; these raise errors of many types for damaged files."""
    return ValueError(f"damaged: {type(error).__name__}: {first_line(error)}")


def _axes_of_array(shape: tuple[int, ...], count: int | None) -> tuple[int, ...]:
    """Returns the axes of an array in the order height, width, channels; the last is missing if there is a single channel."""
    if len(shape) == 2:
        _check_count(1, count)
        return (0, 1)
    if len(shape) != 3:
        raise ValueError(
            f"its array has the shape {list(shape)}; save [H, W], [H, W, C] or [C, H, W]"
        )
    if count:
        first = shape[0] == count
    elif shape[0] == shape[1] or shape[1] == shape[2]:
        first = shape[0] != shape[1]
    else:
        first = shape[0] < shape[2]
    if first and shape[2] != count:
        return (1, 2, 0)
    _check_count(shape[2], count)
    return (0, 1, 2)


def _read_tiff(encoded: bytes, count: int | None) -> tuple[np.ndarray, str]:
    """Returns the values, and the text of the value that stands for missing ones; "" without one."""
    try:
        import tifffile
    except ModuleNotFoundError:
        raise ValueError(
            "TIFF images with these channels require tifffile; install it with `pip install tifffile imagecodecs`"
        ) from None
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(tifffile.TiffFile(io.BytesIO(encoded)))
            series = file.series[0]
            shape, axes, tags = series.shape, series.axes, series.keyframe.tags
            missing, orientation = (tags.valueof(tag) for tag in (_NO_DATA, _ORIENTATION))
            photometric, bits = series.keyframe.photometric, series.keyframe.bitspersample
        except Exception as error:
            raise _unreadable(error) from None
        if photometric == _PALETTE:
            return _read_by_pillow(encoded, count), ""
        order = [axes.find(axis) for axis in "YX"]
        others = [
            axis
            for axis, size in enumerate(shape)
            if axis not in order and (size > 1 or axes[axis] == "S")
        ]
        if min(order) < 0 or len(others) > 1:
            raise ValueError(
                f"it has the axes {axes}; save height, width and at most one axis of channels"
            )
        height, width = (shape[axis] for axis in order)
        channels = shape[others[0]] if others else 1
        _check(height, width, channels, series.dtype)
        _check_count(channels, count)
        try:
            values = series.asarray()
        except Exception as error:
            raise _unreadable(error) from None
    # Axes of size 1 are dropped, wherever they are.
    values = values.transpose(*order, *others, *set(range(values.ndim)).difference(order, others))
    values = _turned(values.reshape(height, width, channels), orientation)
    missing = "" if missing is None else str(missing)
    if photometric == _WHITE_IS_0 and values.dtype.kind == "u":
        # The other images of a set count from black.
        white = (1 << int(bits)) - 1
        values = (white - values.astype(np.int64)).astype(values.dtype)
        with contextlib.suppress(ValueError):
            missing = str(white - float(missing.strip(" \0")))
    return values, missing


def _turned(values: np.ndarray, orientation: int | None) -> np.ndarray:
    """Returns an image as it is shown, by the orientation in its metadata."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return values[::rows, ::columns]


def _without(values: np.ndarray, missing: str) -> np.ndarray:
    """Replaces a value that stands for missing ones, as GDAL writes it, by NaN."""
    try:
        number = float(missing.strip(" \0"))  # "" is no number
    except ValueError:
        return values
    found = values == number
    if not found.any():
        return values
    floats = values.astype(np.float64 if values.dtype.itemsize > 2 else np.float32)
    floats[found] = np.nan
    return floats


def _read_by_pillow(encoded: bytes, count: int | None) -> np.ndarray:
    with pillow_images.opened(encoded, _PILLOW) as image:
        if image.format == "PNG" and encoded[24] == 16 and encoded[25] in _PNG_WITH_SEVERAL:
            raise ValueError(
                "PNGs with 16 bits and several channels are not supported; save it as TIFF or .npy"
            )
        image.load()
        # Pillow turns some formats while it loads them, and then says so.
        orientation = pillow_images.orientation_of(image)
        if image.mode == "P":
            image = image.convert("RGBA" if "transparency" in image.info else "RGB")
        elif image.mode == "1":
            image = image.convert("L")
        if image.mode not in _MODES:
            raise ValueError(f"its colour mode {image.mode} is not supported; convert it to RGB")
        _check_count(len(image.getbands()), count)
        values = _turned(np.asarray(image), orientation)
    return values if values.ndim == 3 else values[..., np.newaxis]


def _check(height: int, width: int, channels: int, dtype: np.dtype) -> None:
    if height < 1 or width < 1:
        raise ValueError("the image is empty")
    limits.check_pixels(width, height, channels, dtype.itemsize)


def _check_count(found: int, count: int | None) -> None:
    if count is not None and found != count:
        raise ValueError(f"the image has {found} channels instead of {count}")
