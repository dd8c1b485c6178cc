"""What replicas exchange besides the statistics of batch normalisation."""

import tensorflow as tf


def of_all_replicas(values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the values for the images of all replicas, and where those of this replica are among them.

    Args:
        values: values for each image of this replica, `[B, ...]`; all replicas have the same number of images.

    Returns:
        Values `[G, ...]` for the global batch, and integer `[B]`, the indices of this replica's images in it.

    Examples:
        >>> from pixpro_tf.ops.replicas import of_all_replicas
        >>> import tensorflow as tf
        >>> values, own = of_all_replicas(tf.constant([[5.0], [6.0]]))
        >>> values.numpy().tolist(), own.numpy().tolist()
        ([[5.0], [6.0]], [0, 1])
    """
    own = tf.range(tf.shape(values)[0])
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
        return values, own
    # Replicas are gathered in the order of their ids.
    own += context.replica_id_in_sync_group * tf.shape(values)[0]
    return context.all_gather(values, axis=0), own
