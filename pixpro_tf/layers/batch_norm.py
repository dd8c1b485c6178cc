"""Batch normalisation, fused on one replica and synchronised over several."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from pixpro_tf.ops.numerics import at_least_float32


@tf.keras.utils.register_keras_serializable(package="pixpro_tf")
class BatchNorm(tf.keras.layers.Layer):
    """Batch normalisation over all axes but the last, with the statistics of the global batch.

    Keras' own layer is either fused or synchronised, and the two compute different running variances (unbiased and biased,
    respectively). This layer uses the fused kernel on one replica, and otherwise sums the moments of all replicas with one
    collective. The running variance is unbiased in both cases, as in PyTorch, so a run gives the same weights on any number
    of replicas.

    Args:
        momentum: decay of the running averages, in [0, 1); PyTorch's momentum is one minus this.
        epsilon: constant added to the variance, greater than 0.
        gamma_initializer: initializer of the scale; "zeros" for the last BN of a residual block.

    Call with `training`: if true, the layer normalises by the statistics of the batch and updates the running averages; if
    false, it normalises by the running averages. This does not depend on `trainable`: the target network runs in training
    mode without being trained.

    Input and output: float `[B, ..., C]`. Statistics are computed in at least float32.

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

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        if not training:
            return self._normalize(inputs, self.moving_mean, self.moving_variance)
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        if inputs.shape.rank != 4 or inputs.dtype == tf.float64:
            return self._call_unfused(inputs, replicas)
        return self._call_fused(inputs) if replicas == 1 else self._call_synchronized(inputs)

    def _call_fused(self, inputs: tf.Tensor) -> tf.Tensor:
        result = self._fused(inputs, self.gamma, self.beta)
        self._update_averages(result.batch_mean, result.batch_variance)
        return result.y

    def _call_synchronized(self, inputs: tf.Tensor) -> tf.Tensor:
        """Normalises with the fused kernel, too, but computes the gradient with plain sums.

        No fused kernel for this gradient is deterministic on GPUs.
        """
        replica_context = tf.distribute.get_replica_context()
        replicas = replica_context.num_replicas_in_sync
        values = tf.cast(tf.size(inputs) // inputs.shape[-1], tf.float32)
        values_of_all = values * replicas
        shift = tf.identity(self.moving_mean)

        @tf.custom_gradient
        def normalize(
            inputs: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor
        ) -> tuple[
            tuple[tf.Tensor, tf.Tensor, tf.Tensor],
            Callable[..., tuple[tf.Tensor, tf.Tensor, tf.Tensor]],
        ]:
            local = self._fused(inputs, gamma, beta)
            biased = local.batch_variance * (values - 1) / values
            mean, variance = _over_replicas(local.batch_mean, biased, shift)
            inverse = tf.math.rsqrt(variance + self.epsilon)

            def gradient(
                upstream: tf.Tensor, *_: tf.Tensor
            ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
                axes = [0, 1, 2]
                upstream = tf.cast(upstream, tf.float32)
                normalized = (tf.cast(inputs, tf.float32) - mean) * inverse
                of_gamma = tf.reduce_sum(upstream * normalized, axes)
                of_beta = tf.reduce_sum(upstream, axes)
                # The statistics contribute two means over all replicas: the mean gradient and its component along the normalised inputs.
                sums = replica_context.all_reduce("SUM", tf.stack([of_gamma, of_beta]))
                along, mean_gradient = tf.unstack(sums / values_of_all)
                of_inputs = gamma * inverse * (upstream - mean_gradient - normalized * along)
                return tf.cast(of_inputs, inputs.dtype), of_gamma, of_beta

            return (self._fused(inputs, gamma, beta, mean, variance).y, mean, variance), gradient

        outputs, mean, variance = normalize(
            inputs, tf.convert_to_tensor(self.gamma), tf.convert_to_tensor(self.beta)
        )
        unbiased = variance * values_of_all / tf.maximum(values_of_all - 1, 1)
        self._update_averages(mean, unbiased)
        return outputs

    def _fused(
        self,
        inputs: tf.Tensor,
        gamma: tf.Tensor | tf.Variable,
        beta: tf.Tensor | tf.Variable,
        mean: tf.Tensor | tuple[()] = (),
        variance: tf.Tensor | tuple[()] = (),
    ) -> Any:
        """Normalises by the mean and variance passed, or otherwise by those of the inputs.

        The result contains the statistics of the inputs, with the unbiased variance.
        """
        return tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=gamma,
            offset=beta,
            mean=mean,
            variance=variance,
            epsilon=self.epsilon,
            is_training=isinstance(mean, tuple),
        )

    def _call_unfused(self, inputs: tf.Tensor, replicas: int) -> tf.Tensor:
        axes = list(range(inputs.shape.rank - 1))
        mean, variance = tf.nn.moments(at_least_float32(inputs), axes)
        values = tf.cast(tf.size(inputs) // tf.shape(inputs)[-1] * replicas, mean.dtype)
        if replicas > 1:
            shift = tf.stop_gradient(tf.identity(self.moving_mean))
            mean, variance = _over_replicas(mean, variance, shift)
        self._update_averages(mean, variance * values / tf.maximum(values - 1, 1))
        return self._normalize(inputs, mean, variance)

    def _normalize(
        self, inputs: tf.Tensor, mean: tf.Tensor | tf.Variable, variance: tf.Tensor | tf.Variable
    ) -> tf.Tensor:
        inputs_float = at_least_float32(inputs)
        scale = self.gamma * tf.math.rsqrt(variance + self.epsilon)
        return tf.cast((inputs_float - mean) * scale + self.beta, inputs.dtype)

    def _update_averages(self, mean: tf.Tensor, unbiased_variance: tf.Tensor) -> None:
        for average, value in (
            (self.moving_mean, mean),
            (self.moving_variance, unbiased_variance),
        ):
            average.assign(average * self.momentum + tf.stop_gradient(value) * (1 - self.momentum))

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


def _over_replicas(
    mean: tf.Tensor, variance: tf.Tensor, shift: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Computes the mean and the biased variance over all replicas from those of each replica.

    `shift` is a value near the mean, the same on all replicas.
    """
    replica_context = tf.distribute.get_replica_context()
    # E[x^2] - E[x]^2 loses precision if the mean is large, so values are shifted first.
    moments = tf.stack([mean - shift, variance + tf.square(mean - shift)])
    moments = replica_context.all_reduce("SUM", moments) / replica_context.num_replicas_in_sync
    return moments[0] + shift, tf.maximum(moments[1] - tf.square(moments[0]), 0)
