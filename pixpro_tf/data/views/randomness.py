"""Random numbers as a pure function of a key, with the same bits on every device, compiled or not.

TensorFlow's stateless ops take one seed for a whole tensor, and their bits may depend on the device. Here every image of a batch has its
own key, so its draws do not depend on the batch, the replica or the device.
"""

import enum

import tensorflow as tf

_ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
_PARITY = 0x1BD11BDA
_ROUNDS = 20


class Stream(enum.IntEnum):
    """Streams of random numbers that are drawn from the key of an image, separately for each view."""

    CROP = 1
    JITTER = 11
    JITTER_ORDER = 13
    GREY = 15
    BLUR = 17
    SOLARIZE = 19
    RAND_AUGMENT = 21
    RAND_AUGMENT_MAGNITUDE = 23


def threefry_2x32(key: tf.Tensor, counter: tf.Tensor) -> tf.Tensor:
    """Computes Threefry-2x32 with 20 rounds.

    Args:
        key: uint32 `[..., 2]`.
        counter: uint32 `[..., 2]`, broadcast against `key`.

    Returns:
        Random bits, uint32 `[..., 2]`.

    Source: Salmon et al., SC 2011.
    """
    key_0, key_1 = tf.unstack(key, axis=-1)
    keys = (
        key_0,
        key_1,
        tf.bitwise.bitwise_xor(
            tf.bitwise.bitwise_xor(key_0, key_1), tf.constant(_PARITY, tf.uint32)
        ),
    )
    x, y = tf.unstack(counter, axis=-1)
    x, y = x + keys[0], y + keys[1]
    for i in range(_ROUNDS):
        x = x + y
        rotation = _ROTATIONS[i % 8]
        y = tf.bitwise.bitwise_or(
            tf.bitwise.left_shift(y, tf.constant(rotation, tf.uint32)),
            tf.bitwise.right_shift(y, tf.constant(32 - rotation, tf.uint32)),
        )
        y = tf.bitwise.bitwise_xor(x, y)
        if i % 4 == 3:
            injection = i // 4 + 1
            x = x + keys[injection % 3]
            y = y + keys[(injection + 1) % 3] + tf.constant(injection, tf.uint32)
    return tf.stack([x, y], axis=-1)


def image_key(run_seed: int, epoch: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
    """Computes the key for the random draws of one image in one epoch.

    Args:
        run_seed: the run's seed, below 2**64.
        epoch: integer scalar.
        position: integer scalar or `[B]`, position of the image in the order of the epoch.

    Returns:
        int32 `[2]` or `[B, 2]`.
    """
    key = tf.constant([run_seed & 0xFFFFFFFF, run_seed >> 32], tf.uint32)
    position = tf.cast(position, tf.uint32)
    epoch = tf.broadcast_to(tf.cast(epoch, tf.uint32), tf.shape(position))
    return tf.bitcast(threefry_2x32(key, tf.stack([epoch, position], axis=-1)), tf.int32)


def uniform(key: tf.Tensor, stream: Stream, view: int, count: int) -> tf.Tensor:
    """Draws uniform numbers for each key.

    Args:
        key: int32 `[2]` or `[B, 2]`.
        stream: purpose of the numbers; the streams of a key are independent of each other.
        view: 1 or 2; the views are independent, too.
        count: number of draws for each key.

    Returns:
        float32 `[count]` or `[B, count]` in [0, 1), multiples of 2**-24.
    """
    # Each stream has two numbers: its own for view 1 and the next one for view 2.
    counter = tf.stack([tf.fill([count], stream + view - 1), tf.range(count)], axis=-1)
    key = tf.bitcast(key, tf.uint32)[..., None, :]
    bits = threefry_2x32(key, tf.cast(counter, tf.uint32))[..., 0]
    # The cast goes through int32, because not every device converts uint32 to floating point.
    high = tf.bitcast(tf.bitwise.right_shift(bits, tf.constant(8, tf.uint32)), tf.int32)
    return tf.cast(high, tf.float32) * 2.0**-24


def normal(key: tf.Tensor, stream: Stream, view: int, count: int) -> tf.Tensor:
    """Draws standard normal numbers for each key (Box-Muller transform); arguments and shape are those of `uniform`."""
    draws = uniform(key, stream, view, 2 * count)
    radius = tf.sqrt(-2.0 * tf.math.log(1.0 - draws[..., :count]))
    return radius * tf.cos(2.0 * 3.141592653589793 * draws[..., count:])
