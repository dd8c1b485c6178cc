"""Where the bins of a feature map lie in the image, and which bins of two views see the same place.

A view is a crop of an image, resized; its box `(x0, y0, x1, y1)` says where the crop lies in the unit square that each
image is scaled to. A horizontally flipped view has x0 > x1, and everything below follows without a special case.
"""

from typing import NamedTuple

import tensorflow as tf


def bin_size(box: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Signed extent of one bin along each axis.

    Args:
        box: float `[B, 4]`, `(x0, y0, x1, y1)` in [0, 1] of the image's axes.
        height, width: size of the feature map in bins.

    Returns:
        `[B, 2]`, `(x, y)`; negative along an axis on which the view is flipped.
    """
    return (box[:, 2:] - box[:, :2]) / tf.constant([width, height], box.dtype)


def bin_centres(box: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Centres of a view's bins, in the coordinates of the image.

    Args:
        box: float `[B, 4]`, `(x0, y0, x1, y1)` in [0, 1] of the image's axes.
        height, width: size of the feature map in bins.

    Returns:
        `[B, height, width, 2]`, `(x, y)` in [0, 1], of `box`'s dtype.
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
    """Length of a bin's diagonal, `[B]`, in the unit square."""
    return tf.norm(bin_size(box, height, width), axis=-1)


class Bins(NamedTuple):
    """Where the bins of a view's feature map lie.

    Attributes:
        centres: `[B, N, 2]`, `(x, y)` in the coordinates of the image, row-major; N = height * width.
        diagonal: `[B]`, length of one bin's diagonal.
    """

    centres: tf.Tensor
    diagonal: tf.Tensor


def bins_of(box: tf.Tensor, height: int, width: int) -> Bins:
    """The bins of a map of `height` x `width` on views with boxes `[B, 4]`."""
    centres = tf.reshape(bin_centres(box, height, width), [-1, height * width, 2])
    return Bins(centres, bin_diagonal(box, height, width))


def same_place(
    centres_1: tf.Tensor, centres_2: tf.Tensor, unit: tf.Tensor, threshold: float
) -> tf.Tensor:
    """Which bins of one image's views see the same place.

    Args:
        centres_1: `[..., N, 2]`, of bins of one view.
        centres_2: `[..., M, 2]`, of bins of the other.
        unit: `[..., N]` or `[..., 1]`, the larger bin diagonal of the two views.
        threshold: largest distance of a positive pair, exclusive, in these units.

    Returns:
        bool `[..., N, M]`.
    """
    offset = centres_1[..., :, None, :] - centres_2[..., None, :, :]
    distance = tf.sqrt(tf.reduce_sum(tf.square(offset), axis=-1))
    return distance / unit[..., None] < threshold


def may_meet(
    centres_1: tf.Tensor, centres_2: tf.Tensor, unit: tf.Tensor, threshold: float
) -> tf.Tensor:
    """Whether any of some bins of one view may see the same place as any of some bins of the other.

    Args:
        centres_1, centres_2, unit, threshold: as of `same_place`, of one image.

    Returns:
        One bool, false only if `same_place` is false for all pairs: the rectangles around the centres are too far apart.
    """
    (low_1, high_1), (low_2, high_2) = (
        (tf.reduce_min(centres, axis=0), tf.reduce_max(centres, axis=0))
        for centres in (centres_1, centres_2)
    )
    gap = tf.maximum(tf.maximum(low_1 - high_2, low_2 - high_1), 0)
    # A little more than the threshold, for what rounding does to distances.
    return tf.norm(gap) < 1.001 * threshold * tf.reduce_max(unit)


def positive_mask(
    box_1: tf.Tensor, box_2: tf.Tensor, height: int, width: int, threshold: float = 0.7
) -> tf.Tensor:
    """Which bins of two views see the same place, all pairs at once.

    Args:
        box_1, box_2: float `[B, 4]`, `(x0, y0, x1, y1)` in [0, 1] of the image's axes; flipped views have x0 > x1.
        height, width: size of both feature maps in bins.
        threshold: largest distance of a positive pair, exclusive, in units of the larger bin diagonal of the two views.

    Returns:
        bool `[B, N, N]`, N = height * width, row-major; `[b, i, j]` is about bin i of view 1 and bin j of view 2.
        All false for an image whose views do not overlap.

    Source: Xie et al., CVPR 2021, equation 1. The paper normalises distances to "the diagonal length of a feature map bin";
        of two views with different bins, the authors' code takes the larger, and so do we.
    """
    bins_1, bins_2 = bins_of(box_1, height, width), bins_of(box_2, height, width)
    unit = tf.maximum(bins_1.diagonal, bins_2.diagonal)
    return same_place(bins_1.centres, bins_2.centres, unit[:, None], threshold)
