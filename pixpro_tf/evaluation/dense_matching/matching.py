"""Which bins of another view a network takes for the same place, and whether they are."""

from typing import NamedTuple

import tensorflow as tf

from pixpro_tf.ops import geometry
from pixpro_tf.ops.numerics import unit_length

# Of places, in bins: bins that lie exactly one apart are one apart, whatever was rounded.
_ROUNDING = 1e-4


class Matches(NamedTuple):
    """What became of the bins of one view, N = h * w of them, row-major, of each of B images.

    Attributes:
        nearest: int64 `[B, N]`, bin of the other view whose feature has the largest cosine.
        place: float `[B, N, 2]`, `(x, y)` where the bin's centre lies in the other view, in bins from its upper left corner.
        seen: bool `[B, N]`, whether that is inside the other view.
        right: bool `[B, N]`, seen, and the nearest bin's centre is at most one bin away along both axes.
        chance: float `[B, N]`, the share of the other view's bins that would have been right; 0 for a bin that is not seen.
    """

    nearest: tf.Tensor
    place: tf.Tensor
    seen: tf.Tensor
    right: tf.Tensor
    chance: tf.Tensor


def match(features: tf.Tensor, other: tf.Tensor, box: tf.Tensor, other_box: tf.Tensor) -> Matches:
    """Looks for each bin of a view among all bins of the other.

    Args:
        features: float `[B, h, w, C]` of one view.
        other: float `[B, h, w, C]` of the other.
        box, other_box: float `[B, 4]`, see `ops.geometry`.
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

    # In bins, the other view is a box from (0, 0) to (width, height).
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
