"""Casts and norms for computations that must not run in half precision."""

import tensorflow as tf

NORM_EPSILON = 1e-12


def at_least_float32(tensor: tf.Tensor) -> tf.Tensor:
    """Casts float16 and bfloat16 to float32; float32 and float64 stay unchanged.

    Examples:
        >>> from pixpro_tf.ops import numerics
        >>> import tensorflow as tf
        >>> [numerics.at_least_float32(tf.zeros([1], name)).dtype.name for name in ("bfloat16", "float64")]
        ['float32', 'float64']
    """
    return tensor if tensor.dtype in (tf.float32, tf.float64) else tf.cast(tensor, tf.float32)


def unit_length(tensor: tf.Tensor) -> tf.Tensor:
    """Computes `tensor / max(||tensor||, 1e-12)` along the last axis, in at least float32.

    The gradient at an all-zero vector is finite (the incoming gradient times 1e12, as in PyTorch) instead of NaN, because the
    lower limit is applied to the sum of squares.

    Examples:
        >>> from pixpro_tf.ops import numerics
        >>> import tensorflow as tf
        >>> numerics.unit_length(tf.constant([[3.0, 4.0], [0.0, 0.0]])).numpy().tolist()
        [[0.6, 0.8], [0.0, 0.0]]
    """
    tensor = at_least_float32(tensor)
    square = tf.reduce_sum(tf.square(tensor), axis=-1, keepdims=True)
    return tensor / tf.sqrt(tf.maximum(square, NORM_EPSILON**2))
