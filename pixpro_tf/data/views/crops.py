"""Random resized crops and their boxes in the image."""

import math

import tensorflow as tf

from pixpro_tf.data.views import randomness
from pixpro_tf.data.views.randomness import Stream

ATTEMPTS = 10
MIN_RATIO, MAX_RATIO = 3 / 4, 4 / 3


def draw_crop(
    key: tf.Tensor,
    view: int,
    height: tf.Tensor,
    width: tf.Tensor,
    min_area: float,
    max_area: float = 1.0,
) -> tuple[tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]:
    """Draws a crop, and whether the view is flipped.

    The area is uniform in [min_area, max_area] of the image and the aspect ratio is log-uniform in [3/4, 4/3]. The first of ten attempts
    that fits into the image is used; if none fits, the crop is central and its aspect ratio is that of the image, clamped to this range.

    Args:
        key: int32 `[2]`, key of the image.
        view: 1 or 2.
        height, width: int32 scalars, size of the image in pixels, at least 1.
        min_area, max_area: smallest and largest area, as shares of the image.

    Returns:
        `(row, column, crop_height, crop_width)` int32 scalars in pixels, and `flipped`, a bool scalar.
    """
    draws = randomness.uniform(key, Stream.CROP, view, 2 * ATTEMPTS + 3)
    area_draws, ratio_draws = draws[:ATTEMPTS], draws[ATTEMPTS : 2 * ATTEMPTS]
    height_px, width_px = tf.cast(height, tf.float32), tf.cast(width, tf.float32)

    area = height_px * width_px * (min_area + (max_area - min_area) * area_draws)
    log_min, log_max = math.log(MIN_RATIO), math.log(MAX_RATIO)
    ratio = tf.exp(log_min + (log_max - log_min) * ratio_draws)
    crop_widths = tf.cast(tf.round(tf.sqrt(area * ratio)), tf.int32)
    crop_heights = tf.cast(tf.round(tf.sqrt(area / ratio)), tf.int32)
    fits = (
        (crop_widths > 0) & (crop_widths <= width) & (crop_heights > 0) & (crop_heights <= height)
    )

    central_width = tf.minimum(width, tf.cast(tf.round(height_px * MAX_RATIO), tf.int32))
    central_height = tf.minimum(height, tf.cast(tf.round(width_px / MIN_RATIO), tf.int32))
    any_fits = tf.reduce_any(fits)
    first = tf.argmax(fits)
    crop_width = tf.where(any_fits, crop_widths[first], central_width)
    crop_height = tf.where(any_fits, crop_heights[first], central_height)

    def place(draw: tf.Tensor, space: tf.Tensor) -> tf.Tensor:
        drawn = tf.cast(draw * tf.cast(space + 1, tf.float32), tf.int32)
        return tf.where(any_fits, tf.minimum(drawn, space), space // 2)

    row = place(draws[-3], height - crop_height)
    column = place(draws[-2], width - crop_width)
    return (row, column, crop_height, crop_width), draws[-1] < 0.5


def crop_box(
    crop: tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor],
    height: tf.Tensor,
    width: tf.Tensor,
    flipped: tf.Tensor,
) -> tf.Tensor:
    """Computes the box of a crop.

    Args:
        crop: `(row, column, crop_height, crop_width)`, int32 scalars in pixels.
        height, width: size of the image in pixels.
        flipped: whether the view is mirrored, which swaps x0 and x1.

    Returns:
        float32 `[4]`, `(x0, y0, x1, y1)`: indices of the crop's first and last pixel, divided by the index of the image's last pixel. In
        an image with a single row or column, both ends are 0 along that axis.

    Source: the authors' boxes (https://github.com/zdaxie/PixPro); they span pixel centres, so a crop of the whole image has (0, 0, 1, 1).
    """
    row, column, crop_height, crop_width = (tf.cast(value, tf.float32) for value in crop)
    last_column = tf.cast(tf.maximum(width - 1, 1), tf.float32)
    last_row = tf.cast(tf.maximum(height - 1, 1), tf.float32)
    x0, x1 = column / last_column, (column + crop_width - 1) / last_column
    y0, y1 = row / last_row, (row + crop_height - 1) / last_row
    return tf.where(flipped, tf.stack([x1, y0, x0, y1]), tf.stack([x0, y0, x1, y1]))


def make_view(
    image: tf.Tensor,
    key: tf.Tensor,
    view: int,
    size: int,
    min_area: float,
    max_area: float = 1.0,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Computes a random view of an image, and its box.

    Args:
        image: uint8 `[H, W, C]`.
        key: int32 `[2]`, key of the image.
        view: 1 or 2.
        size: side of the view in pixels.
        min_area, max_area: see `draw_crop`.

    Returns:
        The view, uint8 `[size, size, C]`, resized bilinearly with antialiasing, and its box, float32 `[4]`.
    """
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    crop, flipped = draw_crop(key, view, height, width, min_area, max_area)
    row, column, crop_height, crop_width = crop
    pixels = image[row : row + crop_height, column : column + crop_width]
    resized = tf.image.resize(pixels, [size, size], "bilinear", antialias=True)
    resized = tf.cast(tf.round(tf.clip_by_value(resized, 0, 255)), tf.uint8)
    resized = tf.where(flipped, tf.reverse(resized, [1]), resized)
    return tf.ensure_shape(resized, [size, size, image.shape[-1]]), crop_box(
        crop, height, width, flipped
    )
