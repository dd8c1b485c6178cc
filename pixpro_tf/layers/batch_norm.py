"""Batch normalisation, fused on one replica and synchronised over several."""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from pixpro_tf.ops.normalization import normalize_over_replicas
from pixpro_tf.ops.numerics import at_least_float32


class _Statistics(threading.local):
    """Settings of `separate_statistics`; a strategy traces each replica in a thread of its own."""

    parts = 1
    compiled = False


_statistics = _Statistics()


@contextlib.contextmanager
def separate_statistics(parts: int, compiled: bool = False) -> Iterator[None]:
    """Context in which `BatchNorm` normalises each of several equal parts of the batch by the statistics of that part.

    A network that processes both views of the images as one batch gives the results of two calls, and replicas exchange the statistics
    of both views together.

    Args:
        parts: number of parts; the first axis of every input must be divisible by it.
        compiled: whether XLA compiles the normalisation of several parts or replicas.

    Examples:
        >>> from pixpro_tf.layers.batch_norm import BatchNorm, separate_statistics
        >>> import tensorflow as tf
        >>> with separate_statistics(parts=2):
        ...     outputs = BatchNorm()(tf.constant([[1.0], [3.0], [10.0], [30.0]]), training=True)
        >>> outputs[:, 0].numpy().round(3).tolist()
        [-1.0, 1.0, -1.0, 1.0]
    """
    before = _statistics.parts, _statistics.compiled
    _statistics.parts, _statistics.compiled = parts, compiled
    try:
        yield
    finally:
        _statistics.parts, _statistics.compiled = before


@tf.keras.utils.register_keras_serializable(package="pixpro_tf")
class BatchNorm(tf.keras.layers.Layer):
    """Batch normalisation over all axes but the last, with the statistics of the global batch.

    Keras' own layer is either fused or synchronised, and the two compute different running variances (unbiased and biased,
    respectively). This layer uses the fused kernel on one replica, and otherwise averages the moments of all replicas with one
    collective. The running variance is unbiased in both cases, as in PyTorch, so a run gives the same weights on any number
    of replicas. See `separate_statistics` for batches of several views.

    Args:
        momentum: decay of the running averages, in [0, 1); PyTorch's momentum is one minus this.
        epsilon: constant added to the variance, greater than 0.
        gamma_initializer: initializer of the scale; "zeros" for the last BN of a residual block.

    Call with `training`: if true, the layer normalises by the statistics of the batch and updates the running averages; if
    false, it normalises by the running averages. This does not depend on `trainable`: the target network runs in training
    mode without being trained. `residual` is added to the normalised inputs, and `relu` applies a ReLU at last; over several replicas,
    both are computed in the pass that normalises.

    Input, residual and output: float `[B, ..., C]`. Statistics are computed in at least float32.

    Examples:
        >>> from pixpro_tf.layers.batch_norm import BatchNorm
        >>> import tensorflow as tf
        >>> outputs = BatchNorm()(tf.random.normal([8, 7, 7, 16], mean=3.0), training=True)
        >>> bool(tf.reduce_max(tf.abs(tf.reduce_mean(outputs, axis=[0, 1, 2]))) < 1e-4)
        True
    """

    def __init__(
        self,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        gamma_initializer: str | dict[str, Any] | tf.keras.initializers.Initializer = "ones",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), not {momentum}")
        if epsilon <= 0:
            raise ValueError(f"epsilon must be greater than 0, not {epsilon}")
        self.momentum = momentum
        self.epsilon = epsilon
        self.gamma_initializer = tf.keras.initializers.get(gamma_initializer)

    def build(self, input_shape: tf.TensorShape | Sequence[int | None]) -> None:
        channels = input_shape[-1]
        if channels is None:
            raise ValueError(
                f"the last axis of the input must have a static size; the input shape is {input_shape}"
            )
        self.input_spec = tf.keras.layers.InputSpec(min_ndim=2, axes={-1: channels})
        dtype = tf.float64 if self.dtype == "float64" else tf.float32
        self.gamma = self.add_weight(
            "gamma", [channels], dtype, self.gamma_initializer, experimental_autocast=False
        )
        self.beta = self.add_weight("beta", [channels], dtype, "zeros", experimental_autocast=False)
        # Every replica computes the same statistics, so each keeps its own copy; reading or saving them needs no communication.
        local_copies = {
            "trainable": False,
            "synchronization": tf.VariableSynchronization.ON_READ,
            "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA,
            "experimental_autocast": False,
        }
        self.moving_mean = self.add_weight(
            "moving_mean", [channels], dtype, "zeros", **local_copies
        )
        self.moving_variance = self.add_weight(
            "moving_variance", [channels], dtype, "ones", **local_copies
        )
        super().build(input_shape)

    def call(
        self,
        inputs: tf.Tensor,
        training: bool | None = None,
        residual: tf.Tensor | None = None,
        relu: bool = False,
    ) -> tf.Tensor:
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        fused = inputs.shape.rank == 4 and inputs.dtype != tf.float64
        if training and not (replicas == _statistics.parts == 1 and fused):
            return self._call_synchronized(inputs, residual, relu)
        if training:
            outputs = self._call_fused(inputs)
        else:
            outputs = self._normalize(inputs, self.moving_mean, self.moving_variance)
        if residual is not None:
            outputs += residual
        return tf.nn.relu(outputs) if relu else outputs

    def _call_fused(self, inputs: tf.Tensor) -> tf.Tensor:
        result = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=self.gamma,
            offset=self.beta,
            mean=(),
            variance=(),
            epsilon=self.epsilon,
            is_training=True,
        )
        # This variance is the unbiased one.
        self._update_averages(result.batch_mean[None], result.batch_variance[None])
        return result.y

    def _call_synchronized(
        self, inputs: tf.Tensor, residual: tf.Tensor | None = None, relu: bool = False
    ) -> tf.Tensor:
        def as_rows(maps: tf.Tensor) -> tf.Tensor:
            return tf.reshape(maps, [_statistics.parts, -1, maps.shape[-1]])

        rows = as_rows(inputs)
        outputs, mean, variance = normalize_over_replicas(
            rows,
            tf.convert_to_tensor(self.gamma),
            tf.convert_to_tensor(self.beta),
            shift=tf.stop_gradient(tf.identity(self.moving_mean)),
            epsilon=self.epsilon,
            residual=None if residual is None else as_rows(residual),
            relu=relu,
            compiled=_statistics.compiled,
        )
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        values = tf.cast(tf.shape(rows)[1] * replicas, mean.dtype)
        self._update_averages(mean, variance * values / tf.maximum(values - 1, 1))
        return tf.ensure_shape(tf.reshape(outputs, tf.shape(inputs)), inputs.shape)

    def _normalize(
        self, inputs: tf.Tensor, mean: tf.Tensor | tf.Variable, variance: tf.Tensor | tf.Variable
    ) -> tf.Tensor:
        inputs_float = at_least_float32(inputs)
        scale = self.gamma * tf.math.rsqrt(variance + self.epsilon)
        return tf.cast((inputs_float - mean) * scale + self.beta, inputs.dtype)

    def _update_averages(self, means: tf.Tensor, unbiased_variances: tf.Tensor) -> None:
        """Updates the running averages with the statistics `[P, C]` of the parts, one part after the other."""
        for average, values in (
            (self.moving_mean, means),
            (self.moving_variance, unbiased_variances),
        ):
            updated = tf.convert_to_tensor(average)
            for value in tf.unstack(tf.stop_gradient(values)):
                updated = updated * self.momentum + value * (1 - self.momentum)
            average.assign(updated)

    def compute_output_shape(
        self, input_shape: tf.TensorShape | Sequence[int | None]
    ) -> tf.TensorShape:
        return tf.TensorShape(input_shape)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "gamma_initializer": tf.keras.initializers.serialize(self.gamma_initializer),
        }
