"""Consistency losses. Each turns features of two networks into one number per image, in at least float32."""

import tensorflow as tf

from pixpro_tf.numerics import at_least_float32

EMPTY_MASK_EPSILON = 1e-6


def pixel_consistency(propagated: tf.Tensor, target: tf.Tensor, positives: tf.Tensor) -> tf.Tensor:
    """Mean cosine similarity over the positive pairs of each image.

    Args:
        propagated: float `[B, N, C]`, unit length along C; N = H*W, row-major.
        target: float `[B, M, C]`, unit length along C; receives no gradient.
        positives: bool `[B, N, M]`, true where two bins see the same place.

    Returns:
        `[B]` in [-1, 1], in at least float32; 0 for an image without positive pairs.

    Raises:
        ValueError: if the static shapes do not fit together.

    Source: Xie et al., CVPR 2021, equation 4. The authors' loss is -2 times this, per direction; the paper's is -1 times.
    """
    if not (
        propagated.shape[1:2].is_compatible_with(positives.shape[1:2])
        and target.shape[1:2].is_compatible_with(positives.shape[2:3])
        and propagated.shape[2:3].is_compatible_with(target.shape[2:3])
    ):
        raise ValueError(
            "propagated [B, N, C], target [B, M, C] and positives [B, N, M] do not fit together: "
            f"{propagated.shape}, {target.shape}, {positives.shape}"
        )
    propagated = at_least_float32(propagated)
    target = tf.stop_gradient(tf.cast(target, propagated.dtype))
    mask = tf.cast(positives, propagated.dtype)
    # sum_ij A_ij y_i.x'_j = sum_i y_i.(sum_j A_ij x'_j): one product less than the cosines of all pairs, the same number.
    matched = tf.einsum("bnm,bmc->bnc", mask, target)
    total = tf.einsum("bnc,bnc->b", propagated, matched)
    return total / (tf.reduce_sum(mask, axis=[1, 2]) + EMPTY_MASK_EPSILON)


def instance_consistency(prediction: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """Cosine similarity of whole-image features.

    Args:
        prediction: float `[B, C]`, unit length along C.
        target: float `[B, C]`, unit length along C; receives no gradient.

    Returns:
        `[B]` in [-1, 1], in at least float32.

    Source: the authors' instance branch, whose loss is -2 times this, per direction.
    """
    prediction = at_least_float32(prediction)
    target = tf.stop_gradient(tf.cast(target, prediction.dtype))
    return tf.einsum("bc,bc->b", prediction, target)
