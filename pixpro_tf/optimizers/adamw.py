"""Keras' AdamW, with variables excluded from weight decay by their rank."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf


@tf.keras.utils.register_keras_serializable(package="pixpro_tf")
class AdamW(tf.keras.optimizers.AdamW):
    """AdamW without weight decay for one-dimensional variables (BN, biases).

    Args:
        learning_rate: learning rate, a float or a schedule.
        weight_decay: weight decay of variables with more than one dimension. It is decoupled: each step subtracts
            `learning_rate * weight_decay` times the variable.

    Source: Loshchilov and Hutter, ICLR 2019, https://arxiv.org/abs/1711.05101.

    Examples:
        >>> from pixpro_tf.optimizers.adamw import AdamW
        >>> import tensorflow as tf
        >>> kernel, bias = tf.Variable([[1.0]]), tf.Variable([1.0])
        >>> AdamW(learning_rate=0.1, weight_decay=0.5).apply_gradients([(tf.zeros([1, 1]), kernel), (tf.zeros([1]), bias)])
        <...>
        >>> kernel.numpy().tolist(), bias.numpy().tolist()
        ([[0.95]], [1.0])
    """

    def __init__(
        self,
        learning_rate: float | tf.keras.optimizers.schedules.LearningRateSchedule = 1e-3,
        weight_decay: float = 4e-3,
        **kwargs: Any,
    ) -> None:
        # XLA compiles the update together with the step, if at all, and not separately.
        super().__init__(learning_rate, weight_decay, **{"jit_compile": False, **kwargs})

    def build(self, var_list: Sequence[tf.Variable]) -> None:
        """Creates the moments of the variables and finds the variables without weight decay.

        Keras calls this in every step; it has an effect only in the first.
        """
        if not getattr(self, "_built", False):
            flat = [variable for variable in var_list if variable.shape.rank <= 1]
            self.exclude_from_weight_decay(var_list=flat)
        super().build(var_list)
