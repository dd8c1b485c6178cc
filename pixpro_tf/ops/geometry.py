"""Positions of a feature map's bins in the image, and positive pairs: bins of two views at the same position.

A view is a resized crop of an image; its box `(x0, y0, x1, y1)` is the position of the crop in the unit square that each
image is scaled to. A horizontally flipped view has x0 > x1, and everything below holds for it without a special case.
"""

from typing import NamedTuple

import tensorflow as tf


def bin_size(box: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Computes the signed extent of one bin along each axis.

    Args:
        box: boxes of the views, float `[B, 4]`, `(x0, y0, x1, y1)` in [0, 1] along the axes of the image.
        height, width: size of the feature map in bins.

    Returns:
        `[B, 2]`, `(x, y)`; negative along an axis on which the view is flipped.

    Examples:
        >>> from pixpro_tf.ops import geometry
        >>> import tensorflow as tf
        >>> left_half_flipped = tf.constant([[0.5, 0.0, 0.0, 1.0]])
        >>> geometry.bin_size(left_half_flipped, height=4, width=2).numpy().tolist()
        [[-0.25, 0.25]]
    """
    return (box[:, 2:] - box[:, :2]) / tf.constant([width, height], box.dtype)


def bin_centres(box: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Computes the centres of a view's bins in the coordinates of the image.

    Args:
        box: boxes of the views, float `[B, 4]`, `(x0, y0, x1, y1)` in [0, 1] along the axes of the image.
        height, width: size of the feature map in bins.

    Returns:
        `[B, height, width, 2]`, `(x, y)` in [0, 1], with the dtype of `box`.

    Examples:
        >>> from pixpro_tf.ops import geometry
        >>> import tensorflow as tf
        >>> right_half = tf.constant([[0.5, 0.0, 1.0, 1.0]])
        >>> geometry.bin_centres(right_half, height=1, width=2).numpy().tolist()
        [[[[0.625, 0.5], [0.875, 0.5]]]]
    """
    size = bin_size(box, height, width)
    columns = tf.range(width, dtype=box.dtype) + 0.5
    rows = tf.range(height, dtype=box.dtype) + 0.5
    x = box[:, 0, None] + columns * size[:, 0, None]
    y = box[:, 1, None] + rows * size[:, 1, None]
    shape = [tf.shape(box)[0], height, width]
    return tf.stack(
        [tf.broadcast_to(x[:, None, :], shape), tf.broadcast_to(y[:, :, None], shape)], axis=-1
    )


def bin_diagonal(box: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Computes the length of a bin's diagonal in the unit square, `[B]`.

    Examples:
        >>> from pixpro_tf.ops import geometry
        >>> import tensorflow as tf
        >>> geometry.bin_diagonal(tf.constant([[0.0, 0.0, 0.6, 0.8]]), height=2, width=2).numpy().tolist()
        [0.5]
    """
    return tf.norm(bin_size(box, height, width), axis=-1)


class Bins(NamedTuple):
    """Positions of the bins of a view's feature map.

    Attributes:
        centres: centres of the bins, `[B, N, 2]`, `(x, y)` in the coordinates of the image, row-major; N = height * width.
        diagonal: length of one bin's diagonal, `[B]`.

    Examples:
        >>> from pixpro_tf.ops import geometry
        >>> import tensorflow as tf
        >>> bins = geometry.bins_of(tf.constant([[0.0, 0.0, 1.0, 1.0]]), height=7, width=7)
        >>> bins.centres.shape, bins.diagonal.shape
        (TensorShape([1, 49, 2]), TensorShape([1]))
    """

    centres: tf.Tensor
    diagonal: tf.Tensor


def bins_of(box: tf.Tensor, height: int, width: int) -> Bins:
    """Returns the bins of a map of `height` x `width` on views with boxes `[B, 4]`.

    Examples:
        >>> from pixpro_tf.ops import geometry
        >>> import tensorflow as tf
        >>> geometry.bins_of(tf.constant([[0.0, 0.0, 1.0, 0.5]]), height=1, width=2).centres.numpy().tolist()
        [[[0.25, 0.25], [0.75, 0.25]]]
    """
    centres = tf.reshape(bin_centres(box, height, width), [-1, height * width, 2])
    return Bins(centres, bin_diagonal(box, height, width))


def same_place(
    centres_1: tf.Tensor, centres_2: tf.Tensor, unit: tf.Tensor, threshold: float
) -> tf.Tensor:
    """Returns which bins of two views of an image are positive pairs, i.e. lie at the same position.

    Args:
        centres_1: centres of bins of one view, `[..., N, 2]`.
        centres_2: centres of bins of the other view, `[..., M, 2]`.
        unit: larger bin diagonal of the two views, `[..., N]` or `[..., 1]`.
        threshold: largest distance of a positive pair, exclusive, in multiples of `unit`.

    Returns:
        bool `[..., N, M]`.

    Examples:
        >>> from pixpro_tf.ops import geometry
        >>> import tensorflow as tf
        >>> centres = tf.constant([[0.1, 0.1], [0.9, 0.1]])
        >>> geometry.same_place(centres, centres, unit=tf.constant([0.5]), threshold=0.7).numpy().tolist()
        [[True, False], [False, True]]
    """
    offset = centres_1[..., :, None, :] - centres_2[..., None, :, :]
    distance = tf.sqrt(tf.reduce_sum(tf.square(offset), axis=-1))
    return distance / unit[..., None] < threshold


def may_meet(
    centres_1: tf.Tensor, centres_2: tf.Tensor, unit: tf.Tensor, threshold: float
) -> tf.Tensor:
    """Returns whether some bins of one view and some bins of the other may contain a positive pair.

    Args:
        centres_1, centres_2, unit, threshold: see `same_place`; those of one image.

    Returns:
        One bool. It is false only if `same_place` is false for all pairs, because the rectangles around the centres are too far apart.

    Examples:
        >>> from pixpro_tf.ops import geometry
        >>> import tensorflow as tf
        >>> left, right = tf.constant([[0.1, 0.1], [0.2, 0.1]]), tf.constant([[0.8, 0.1], [0.9, 0.1]])
        >>> bool(geometry.may_meet(left, right, unit=tf.constant([0.5]), threshold=0.7))
        False
    """
    (low_1, high_1), (low_2, high_2) = (
        (tf.reduce_min(centres, axis=0), tf.reduce_max(centres, axis=0))
        for centres in (centres_1, centres_2)
    )
    gap = tf.maximum(tf.maximum(low_1 - high_2, low_2 - high_1), 0)
    # The factor, slightly greater than 1, allows for rounding errors of the distances.
    return tf.norm(gap) < 1.001 * threshold * tf.reduce_max(unit)


def positive_mask(
    box_1: tf.Tensor, box_2: tf.Tensor, height: int, width: int, threshold: float = 0.7
) -> tf.Tensor:
    """Returns which bins of two views are positive pairs, for all pairs at once.

    Args:
        box_1, box_2: boxes of the views, float `[B, 4]`, `(x0, y0, x1, y1)` in [0, 1] along the axes of the image; flipped views have
            x0 > x1.
        height, width: size of both feature maps in bins.
        threshold: largest distance of a positive pair, exclusive, in multiples of the larger bin diagonal of the two views.

    Returns:
        bool `[B, N, N]`, N = height * width, row-major; `[b, i, j]` refers to bin i of view 1 and bin j of view 2.
        All false for an image whose views lie far apart.

    Source: Xie et al., CVPR 2021 (https://arxiv.org/abs/2011.10043), equation 1. The paper normalises distances to "the diagonal length
        of a feature map bin"; if the bins of the two views differ, this function uses the larger diagonal, as the authors' code does.

    Examples:
        >>> from pixpro_tf.ops import geometry
        >>> import tensorflow as tf
        >>> whole, flipped = tf.constant([[0.0, 0.0, 1.0, 1.0]]), tf.constant([[1.0, 0.0, 0.0, 1.0]])
        >>> mask = geometry.positive_mask(whole, flipped, height=2, width=2)
        >>> mask[0, 0].numpy().tolist()  # the bin at the top left, against the four of the flipped view
        [False, True, False, False]
    """
    bins_1, bins_2 = bins_of(box_1, height, width), bins_of(box_2, height, width)
    unit = tf.maximum(bins_1.diagonal, bins_2.diagonal)
    return same_place(bins_1.centres, bins_2.centres, unit[:, None], threshold)
