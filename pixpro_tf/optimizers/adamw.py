"""Keras' AdamW, with decay excluded by rank."""

from collections.abc import Sequence

import tensorflow as tf


def make_adamw(
    learning_rate: float | tf.keras.optimizers.schedules.LearningRateSchedule, weight_decay: float
) -> tf.keras.optimizers.Optimizer:
    """AdamW whose one-dimensional variables (BN, biases) get no decay.

    Args:
        learning_rate: float or schedule.
        weight_decay: of variables with more than one dimension; decoupled, so it takes `learning_rate * weight_decay` of them a step.

    Returns:
        A Keras optimiser that XLA does not compile by itself.

    Source: Loshchilov and Hutter, ICLR 2019.
    """

    class AdamW(tf.keras.optimizers.AdamW):
        _has_excluded = False

        def build(self, var_list: Sequence[tf.Variable]) -> None:
            # Called in every step, and to be answered in the first.
            if not self._has_excluded:
                self._has_excluded = True
                flat = [variable for variable in var_list if variable.shape.rank <= 1]
                self.exclude_from_weight_decay(var_list=flat)
            super().build(var_list)

    return AdamW(learning_rate, weight_decay=weight_decay, jit_compile=False)
