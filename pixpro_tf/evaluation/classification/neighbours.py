"""Classification by the nearest neighbours among labelled examples."""

import numpy as np
import tensorflow as tf

from pixpro_tf.ops.numerics import unit_length

_AT_ONCE = 256


def neighbour_votes(
    features: np.ndarray,
    known_features: np.ndarray,
    known_labels: np.ndarray,
    num_classes: int,
    neighbours: int,
    temperature: float,
) -> np.ndarray:
    """Computes the votes of the nearest labelled examples by cosine similarity.

    Args:
        features: float `[M, C]`, features of the examples to classify.
        known_features: float `[N, C]`, features of the labelled examples.
        known_labels: integer `[N]` in [0, K), classes of the labelled examples.
        num_classes: number of classes, K.
        neighbours: number of neighbours that vote, at most N.
        temperature: temperature of the votes, whose weights are exp(cosine / temperature); 0 weights all votes equally.

    Returns:
        float32 `[M, K]`; each row sums to 1.

    Source: Wu et al., CVPR 2018 (https://arxiv.org/abs/1805.01978).
    """
    known = tf.transpose(unit_length(tf.constant(known_features, tf.float32)))
    labels = tf.constant(known_labels, tf.int64)

    @tf.function(reduce_retracing=True)
    def votes(some: tf.Tensor) -> tf.Tensor:
        cosines, nearest = tf.math.top_k(unit_length(some) @ known, neighbours)
        if temperature:
            # The weights use differences to the nearest one, because exp(1 / temperature) may overflow.
            weights = tf.exp((cosines - cosines[:, :1]) / temperature)
        else:
            weights = tf.ones_like(cosines)
        classes = tf.one_hot(tf.gather(labels, nearest), num_classes)
        summed = tf.einsum("mk,mkc->mc", weights, classes)
        return summed / tf.reduce_sum(weights, axis=1, keepdims=True)

    parts = [
        votes(tf.constant(features[start : start + _AT_ONCE], tf.float32)).numpy()
        for start in range(0, len(features), _AT_ONCE)
    ]
    return np.concatenate(parts)
