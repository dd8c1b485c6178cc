"""Normalisation of channels with statistics over all replicas, in few passes over memory and with few exchanges.

Each of the four passes reads its inputs once when XLA compiles it: the sums of the moments, the normalisation, the sums of the gradient,
and the gradient of the inputs. Replicas exchange one small tensor in each direction.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from pixpro_tf.ops.devices import on_cpu
from pixpro_tf.ops.graphs import compiled_by_xla
from pixpro_tf.ops.numerics import at_least_float32

# Number of rows, at least, whose mean shifts the values of a channel before they are squared.
_SHIFT_ROWS = 64
# Number of slices of rows that CPUs add; XLA fuses the additions with what computes the rows.
_SLICES = 8
# Number of blocks of the remaining rows, at most, that CPUs sum separately.
_BLOCKS = 64


class _Norm(NamedTuple):
    """Mean and inverse standard deviation `[P, C]`, and scale and offset `[C]`."""

    mean: tf.Tensor
    inverse: tf.Tensor
    gamma: tf.Tensor
    beta: tf.Tensor


def normalize_over_replicas(
    rows: tf.Tensor,
    gamma: tf.Tensor,
    beta: tf.Tensor,
    shift: tf.Tensor,
    epsilon: float,
    residual: tf.Tensor | None = None,
    relu: bool = False,
    compiled: bool = True,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Normalises channels by their mean and variance over the rows of all replicas, and applies what follows in a residual network.

    The gradient takes into account that the statistics depend on the rows. It consists of plain sums: no kernel of TensorFlow for the
    gradient of a normalisation by given statistics is deterministic on GPUs.

    Args:
        rows: float `[P, N, C]`, P parts with statistics of their own and N rows each; every replica has equally many.
        gamma, beta: scale and offset `[C]`, in at least float32.
        shift: a value near the mean `[C]`, the same on all replicas, e.g. the running average.
        epsilon: constant added to the variance.
        residual: `[P, N, C]` to add to the normalised rows, or None.
        relu: whether to apply a ReLU at last.
        compiled: whether XLA compiles each pass.

    Returns:
        The outputs, in the type of `rows`, and mean and biased variance over all replicas, `[P, C]` in the type of gamma.

    Examples:
        >>> from pixpro_tf.ops.normalization import normalize_over_replicas
        >>> import tensorflow as tf
        >>> rows = tf.constant([[[1.0], [3.0]], [[10.0], [30.0]]])
        >>> normalized, mean, variance = normalize_over_replicas(rows, tf.ones([1]), tf.zeros([1]), tf.zeros([1]), epsilon=0.0)
        >>> normalized[:, :, 0].numpy().round(4).tolist(), mean[:, 0].numpy().tolist(), variance[:, 0].numpy().tolist()
        ([[-1.0, 1.0], [-1.0, 1.0]], [2.0, 20.0], [1.0, 100.0])
    """
    context = tf.distribute.get_replica_context()
    replicas = context.num_replicas_in_sync
    run = _compiled if compiled else _traced

    def mean_over_replicas(values: tf.Tensor) -> tf.Tensor:
        return context.all_reduce("SUM", values) / replicas if replicas > 1 else values

    @tf.custom_gradient
    def normalize(
        rows: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, *residual: tf.Tensor
    ) -> tuple[tuple[tf.Tensor, ...], Callable[..., list[tf.Tensor]]]:
        moments = mean_over_replicas(run(_moments, rows, shift))
        mean = moments[:, 0] + shift
        variance = tf.maximum(moments[:, 1] - tf.square(moments[:, 0]), 0)
        norm = _Norm(mean, tf.math.rsqrt(variance + epsilon), gamma, beta)
        outputs = run(_outputs, rows, norm, relu, *residual)

        def gradient(upstream: tf.Tensor, *_: tf.Tensor) -> list[tf.Tensor]:
            if relu and residual:
                upstream = run(_where_positive, upstream, outputs)
            own_relu = relu and not residual
            means = run(_gradient_means, rows, upstream, norm, own_relu)
            of_gamma, of_beta = tf.unstack(
                tf.reduce_sum(means, axis=0) * tf.cast(tf.shape(rows)[1], means.dtype)
            )
            means = mean_over_replicas(means)
            of_rows = run(_gradient_of_rows, rows, upstream, norm, own_relu, means)
            return [of_rows, of_gamma, of_beta, *([upstream] if residual else [])]

        return (outputs, mean, variance), gradient

    return normalize(rows, gamma, beta, *([] if residual is None else [residual]))


def _row_means(rows: tf.Tensor) -> tf.Tensor:
    """Means of `[P, N, C]` over its rows."""
    parts, count, channels = rows.shape
    if count is None or not on_cpu():
        return tf.reduce_mean(rows, axis=1)
    # XLA sums columns slowly on CPUs. It adds whole slices of rows while it computes them, and multiplies matrices fast.
    slices = math.gcd(count, _SLICES)
    rows = tf.reshape(rows, [parts, slices, count // slices, channels])
    total = tf.add_n([rows[:, i] for i in range(slices)])
    # The sums of blocks are added at last, because rounding errors grow with the number of values added one after the other.
    blocks = math.gcd(count // slices, _BLOCKS)
    total = tf.reshape(total, [parts, blocks, count // slices // blocks, channels])
    ones = tf.ones([parts, blocks, 1, count // slices // blocks], rows.dtype)
    return tf.reduce_sum(tf.matmul(ones, total)[:, :, 0], axis=1) / count


def _moments(rows: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
    """Means over the rows of x - shift and its square, `[P, 2, C]`."""
    rows = at_least_float32(rows)
    # E[x^2] - E[x]^2 loses precision if the mean is large, so the mean of some rows is subtracted first.
    step = tf.maximum(tf.shape(rows)[1] // _SHIFT_ROWS, 1)
    own_shift = tf.reduce_mean(rows[:, ::step], axis=1)
    centred = rows - own_shift[:, None]
    mean, square = _row_means(centred), _row_means(tf.square(centred))
    variance = tf.maximum(square - tf.square(mean), 0)
    mean += own_shift - shift
    return tf.stack([mean, variance + tf.square(mean)], axis=1)


def _normalized(rows: tf.Tensor, norm: _Norm) -> tf.Tensor:
    return (at_least_float32(rows) - norm.mean[:, None]) * norm.inverse[:, None]


def _outputs(rows: tf.Tensor, norm: _Norm, relu: bool, *residual: tf.Tensor) -> tf.Tensor:
    outputs = _normalized(rows, norm) * norm.gamma + norm.beta
    for each in residual:
        outputs += at_least_float32(each)
    return tf.cast(tf.nn.relu(outputs) if relu else outputs, rows.dtype)


def _where_positive(upstream: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    return tf.where(outputs > 0, upstream, tf.zeros_like(upstream))


def _of_normalized(
    rows: tf.Tensor, upstream: tf.Tensor, norm: _Norm, relu: bool
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the normalised rows, and the gradient of scaled and shifted ones; a ReLU's outputs are computed again, not read."""
    normalized = _normalized(rows, norm)
    upstream = at_least_float32(upstream)
    if relu:
        upstream = _where_positive(upstream, normalized * norm.gamma + norm.beta)
    return normalized, upstream


def _gradient_means(rows: tf.Tensor, upstream: tf.Tensor, norm: _Norm, relu: bool) -> tf.Tensor:
    """Means over the rows of the gradient along the normalised rows, and of the gradient itself, `[P, 2, C]`."""
    normalized, upstream = _of_normalized(rows, upstream, norm, relu)
    return tf.stack([_row_means(upstream * normalized), _row_means(upstream)], axis=1)


def _gradient_of_rows(
    rows: tf.Tensor, upstream: tf.Tensor, norm: _Norm, relu: bool, means: tf.Tensor
) -> tf.Tensor:
    normalized, upstream = _of_normalized(rows, upstream, norm, relu)
    # The statistics contribute two means over all replicas: the gradient's component along the normalised rows, and the mean gradient.
    centred = upstream - means[:, 1, None] - normalized * means[:, 0, None]
    return tf.cast((norm.gamma * norm.inverse)[:, None] * centred, rows.dtype)


def _traced(function: Callable[..., tf.Tensor], *arguments: Any) -> tf.Tensor:
    return function(*arguments)


_compiled = compiled_by_xla(_traced)
