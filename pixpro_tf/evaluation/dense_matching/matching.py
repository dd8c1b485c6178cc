"""Matches between the bins of two views by their features, and whether they lie at the same position."""

from typing import NamedTuple

import tensorflow as tf

from pixpro_tf.ops import geometry
from pixpro_tf.ops.numerics import unit_length

# Tolerance of positions, in bins: bins exactly one apart count as one apart, despite rounding.
_ROUNDING = 1e-4


class Matches(NamedTuple):
    """Matches of the N = h * w bins, in row-major order, of one view of each of B images.

    Attributes:
        nearest: int64 `[B, N]`, index of the bin in the other view whose feature has the largest cosine similarity.
        place: float `[B, N, 2]`, position `(x, y)` of the bin's centre in the other view, in bins from its upper left corner.
        seen: bool `[B, N]`, whether that position is inside the other view.
        right: bool `[B, N]`, whether the bin is seen and the centre of its nearest bin is at most one bin away along both axes.
        chance: float `[B, N]`, share of the other view's bins that would have been right; 0 for a bin that is not seen.
    """

    nearest: tf.Tensor
    place: tf.Tensor
    seen: tf.Tensor
    right: tf.Tensor
    chance: tf.Tensor


def match(features: tf.Tensor, other: tf.Tensor, box: tf.Tensor, other_box: tf.Tensor) -> Matches:
    """Matches each bin of a view to the nearest of all bins of the other view.

    Args:
        features: float `[B, h, w, C]`, feature map of one view.
        other: float `[B, h, w, C]`, feature map of the other view.
        box, other_box: float `[B, 4]`, boxes of the views; see `ops.geometry`.
    """
    batch, (height, width) = tf.shape(features)[0], features.shape[1:3]
    flat = [
        unit_length(tf.reshape(each, [batch, height * width, each.shape[-1]]))
        for each in (features, other)
    ]
    nearest = tf.argmax(tf.einsum("bnc,bmc->bnm", *flat), axis=-1)

    centres = geometry.bins_of(box, height, width).centres
    size = geometry.bin_size(other_box, height, width)
    place = (centres - other_box[:, None, :2]) / size[:, None]
    end = tf.constant([width, height], place.dtype) + _ROUNDING
    seen = tf.reduce_all((place >= -_ROUNDING) & (place <= end), axis=-1)

    # The other view is a box from (0, 0) to (width, height), in bins.
    grid = tf.constant([[0.0, 0.0, width, height]], place.dtype)
    offset = tf.abs(place[:, :, None] - geometry.bins_of(grid, height, width).centres[:, None])
    near = tf.reduce_all(offset <= 1 + _ROUNDING, axis=-1) & seen[..., None]
    return Matches(
        nearest,
        place,
        seen,
        tf.gather(near, nearest, axis=-1, batch_dims=2),
        tf.reduce_mean(tf.cast(near, place.dtype), axis=-1),
    )
