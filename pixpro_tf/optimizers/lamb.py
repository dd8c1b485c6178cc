"""LAMB: Adam with layer-wise adaptive rates, with variables excluded from weight decay and adaptation by their rank."""

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf


@tf.keras.utils.register_keras_serializable(package="pixpro_tf")
class LAMB(tf.keras.optimizers.Optimizer):
    """LAMB without weight decay or adaptation for one-dimensional variables (BN, biases).

    Every weight with more than one dimension is updated in this order, with m and v corrected for their start at zero:

        m  = beta_1 * m + (1 - beta_1) * g
        v  = beta_2 * v + (1 - beta_2) * g^2
        u  = m' / (sqrt(v') + epsilon) + weight_decay * w,  m' = m / (1 - beta_1^t),  v' = v / (1 - beta_2^t)
        w -= learning_rate * u * ||w|| / ||u||              if both norms are greater than 0

    Args:
        learning_rate: learning rate, a float or a schedule.
        weight_decay: weight decay of variables with more than one dimension; decoupled from the moments.
        beta_1, beta_2: decay of the first and of the second moment, in (0, 1).
        epsilon: constant that is added to the root of the second moment.

    Source: You et al., ICLR 2020, https://arxiv.org/abs/1904.00962, Algorithm 2.

    Examples:
        >>> from pixpro_tf.optimizers.lamb import LAMB
        >>> import tensorflow as tf
        >>> weight = tf.Variable([[3.0], [4.0]])
        >>> LAMB(learning_rate=0.1, weight_decay=0.0).apply_gradients([(tf.constant([[0.0], [1.0]]), weight)])
        <...>
        >>> weight.numpy().round(4).tolist()  # a step of 0.1 * ||w|| in the direction of the update
        [[3.0], [3.5]]
    """

    def __init__(
        self,
        learning_rate: float | tf.keras.optimizers.schedules.LearningRateSchedule = 1e-3,
        weight_decay: float = 0.01,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-6,
        name: str = "LAMB",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self._learning_rate = self._build_learning_rate(learning_rate)
        # The attribute is not named `weight_decay`, because Keras would apply that a second time.
        self.decoupled_decay = weight_decay
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    def build(self, var_list: Sequence[tf.Variable]) -> None:
        """Creates the moments of the variables; Keras calls this in every step, and it has an effect only in the first."""
        super().build(var_list)
        if not getattr(self, "_built", False):
            self.first_moments, self.second_moments = (
                [self.add_variable_from_reference(variable, name) for variable in var_list]
                for name in ("m", "v")
            )
            self._built = True

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        """Updates a variable and its moments."""
        index = self._index_dict[self._var_key(variable)]
        first, second = self.first_moments[index], self.second_moments[index]
        step = tf.cast(self.iterations + 1, variable.dtype)
        first.assign_add((1 - self.beta_1) * (gradient - first))
        second.assign_add((1 - self.beta_2) * (tf.square(gradient) - second))
        # 1 - beta^t, which float32 cannot represent near 0 as a difference.
        corrected = first / -tf.math.expm1(step * math.log(self.beta_1))
        scale = second / -tf.math.expm1(step * math.log(self.beta_2))
        update = corrected / (tf.sqrt(scale) + self.epsilon)
        if variable.shape.rank > 1:
            update += self.decoupled_decay * variable
            norms = tf.norm(variable), tf.norm(update)
            has_both = (norms[0] > 0) & (norms[1] > 0)
            update *= tf.where(has_both, tf.math.divide_no_nan(*norms), 1.0)
        variable.assign_sub(tf.cast(self.learning_rate, variable.dtype) * update)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return super().get_config() | {
            "learning_rate": self._serialize_hyperparameter(self._learning_rate),
            "weight_decay": self.decoupled_decay,
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
        }
