"""Precision of layers that are built."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf


@contextlib.contextmanager
def building_in(policy: str) -> Iterator[None]:
    """Context in which Keras layers get a dtype policy, whatever the policy of the process is.

    Args:
        policy: name of a policy of Keras, e.g. "float32" or "mixed_bfloat16".

    Examples:
        >>> from pixpro_tf.ops.precision import building_in
        >>> import tensorflow as tf
        >>> with building_in("mixed_bfloat16"):
        ...     layer = tf.keras.layers.Dense(1)
        >>> layer.compute_dtype
        'bfloat16'
    """
    before = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy(policy)
    try:
        yield
    finally:
        tf.keras.mixed_precision.set_global_policy(before)
