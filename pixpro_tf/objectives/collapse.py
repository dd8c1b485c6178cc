"""Metrics that distinguish a healthy run from a collapse or a shortcut; a low loss alone proves nothing."""

from collections.abc import Sequence

import tensorflow as tf

from pixpro_tf.ops.graphs import as_written
from pixpro_tf.ops.numerics import unit_length

# Equal unit vectors in float32 have a variance of about 1e-14 because of rounding; variances below this limit count as 0.
ROUNDING_VARIANCE = 1e-12


def feature_spread(features: tf.Tensor) -> tf.Tensor:
    """Computes the standard deviation of the l2-normalised features times sqrt(C).

    Args:
        features: float `[B, N, C]`.

    Returns:
        Scalar in [0, 1]: 0 if all features of the batch are equal, 1 if they are centred around the origin.

    Source: the collapse metric of Chen and He, CVPR 2021 (SimSiam, https://arxiv.org/abs/2011.10566), over all bins of a batch.

    Examples:
        >>> from pixpro_tf.objectives.collapse import feature_spread
        >>> import tensorflow as tf
        >>> float(feature_spread(tf.ones([4, 49, 16])))
        0.0
    """
    unit = unit_length(features)
    variance = tf.math.reduce_variance(unit, axis=[0, 1])
    return tf.sqrt(tf.reduce_sum(variance))


def cross_image_cosine(features: tf.Tensor) -> tf.Tensor:
    """Computes the mean cosine similarity between bins of different images.

    Args:
        features: float `[B, N, C]`.

    Returns:
        Scalar in [-1, 1], near 1 after a collapse; 0 for a batch of one image, which has no such pairs.

    Examples:
        >>> from pixpro_tf.objectives.collapse import cross_image_cosine
        >>> import tensorflow as tf
        >>> round(float(cross_image_cosine(tf.ones([4, 49, 16]))), 3)
        1.0
    """
    unit = unit_length(features)
    images = tf.cast(tf.shape(unit)[0], unit.dtype)
    means = tf.reduce_mean(unit, axis=1)
    of_all_pairs = tf.reduce_sum(tf.square(tf.reduce_sum(means, axis=0)))
    within_images = tf.reduce_sum(tf.square(means))
    return tf.math.divide_no_nan(of_all_pairs - within_images, images * (images - 1))


def position_share(features: tf.Tensor) -> tf.Tensor:
    """Computes the share of the features' variance that is explained by the position in the grid.

    Padding reveals to a network the position of a bin in the view. Views are crops, so this position says nothing about the content,
    and features that depend on it have found a shortcut.

    Args:
        features: float `[B, N, C]`, with N bins of a grid.

    Returns:
        Scalar, at most 1, and around 0 if the position explains nothing. It is corrected for what B images share by chance: epsilon
        squared of a one-way analysis of variance with N groups of B. 0 for a batch of one image, and if all features are equal.

    Examples:
        >>> from pixpro_tf.objectives.collapse import position_share
        >>> import tensorflow as tf
        >>> same_grid_in_every_image = tf.repeat(tf.random.normal([1, 49, 16]), 4, axis=0)
        >>> float(position_share(same_grid_in_every_image))
        1.0
    """
    unit = unit_length(features)
    images = tf.cast(tf.shape(unit)[0], unit.dtype)
    bins = tf.cast(tf.shape(unit)[1], unit.dtype)
    of_position = tf.reduce_mean(unit, axis=0, keepdims=True)
    within = tf.reduce_sum(tf.square(unit - of_position))
    total = tf.reduce_sum(tf.square(unit - tf.reduce_mean(of_position, axis=1, keepdims=True)))
    unexplained = tf.math.divide_no_nan(
        within * (images * bins - 1), total * (images * bins - bins)
    )
    varies = (images > 1) & (total > ROUNDING_VARIANCE * images * bins)
    return tf.where(varies, 1 - unexplained, 0.0)


@as_written
def alarms(levels: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
    """Computes all metrics above by name, each averaged over the maps `[B, N, C]` of several levels.

    Examples:
        >>> from pixpro_tf.objectives.collapse import alarms
        >>> import tensorflow as tf
        >>> sorted(alarms([tf.random.normal([4, 49, 16])]))
        ['cross_image_cosine', 'feature_spread', 'position_share']
    """
    figures = (feature_spread, cross_image_cosine, position_share)
    return {
        figure.__name__: tf.add_n([figure(features) for features in levels]) / len(levels)
        for figure in figures
    }
