"""Momentum SGD with weight decay in the gradient, and layer-wise adaptive rate scaling (LARS) on top of it."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

NORM_EPSILON = 1e-8


def _norm(tensor: tf.Tensor | tf.Variable) -> tf.Tensor:
    """Computes `tf.norm` without creating a tensor of squares."""
    return tf.sqrt(2 * tf.nn.l2_loss(tensor))


@tf.keras.utils.register_keras_serializable(package="pixpro_tf")
class MomentumSGD(tf.keras.optimizers.Optimizer):
    """SGD as in PyTorch: weight decay is part of the gradient, and the learning rate is outside the momentum buffer.

        g += weight_decay * w
        v  = momentum * v + g
        w -= learning_rate * v

    Keras' SGD keeps the learning rate inside the buffer and decouples weight decay; its updates differ while the learning rate
    changes.

    Args:
        learning_rate: learning rate, a float or a schedule.
        momentum: decay of the momentum buffer, in [0, 1).
        weight_decay: weight decay of every variable, including BN scales and biases, as in the authors' SGD.

    Examples:
        >>> from pixpro_tf.optimizers.lars import MomentumSGD
        >>> import tensorflow as tf
        >>> weight = tf.Variable([[1.0]])
        >>> optimizer = MomentumSGD(learning_rate=0.1, momentum=0.9, weight_decay=0.0)
        >>> _ = optimizer.apply_gradients([(tf.constant([[1.0]]), weight)])
        >>> weight.numpy().tolist()
        [[0.9]]
    """

    def __init__(
        self,
        learning_rate: float | tf.keras.optimizers.schedules.LearningRateSchedule = 0.1,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
        name: str = "MomentumSGD",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self._learning_rate = self._build_learning_rate(learning_rate)
        self.momentum = momentum
        # The attribute is not named `weight_decay`, because Keras would apply that a second time, to the weights themselves.
        self.gradient_decay = weight_decay

    def build(self, var_list: Sequence[tf.Variable]) -> None:
        super().build(var_list)
        if not getattr(self, "_built", False):
            self.momentums = [
                self.add_variable_from_reference(variable, "momentum") for variable in var_list
            ]
            self._built = True

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        rate = tf.cast(self.learning_rate, variable.dtype)
        velocity = self.momentums[self._index_dict[self._var_key(variable)]]
        # The update waits for the gradient: otherwise, results that need only weights and momentum would be computed early and stay in
        # memory through the whole step.
        with tf.control_dependencies([gradient]):
            # This takes one pass over the weights instead of four.
            tf.raw_ops.ResourceApplyMomentum(
                var=variable.handle,
                accum=velocity.handle,
                lr=rate,
                grad=self._regularize(gradient, variable),
                momentum=tf.constant(self.momentum, variable.dtype),
            )

    def _regularize(self, gradient: tf.Tensor, variable: tf.Variable) -> tf.Tensor:
        return gradient + self.gradient_decay * variable

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "learning_rate": self._serialize_hyperparameter(self._learning_rate),
            "momentum": self.momentum,
            "weight_decay": self.gradient_decay,
        }


@tf.keras.utils.register_keras_serializable(package="pixpro_tf")
class LARS(MomentumSGD):
    """LARS with momentum, in the form that PixPro's authors use.

    Every weight with more than one dimension is updated in this order:

        g += weight_decay * w
        g *= trust_coefficient * ||w|| / (||g|| + 1e-8)     if both norms are greater than 0
        v  = momentum * v + g
        w -= learning_rate * v

    Variables with one dimension (BN scales and shifts, biases) get neither weight decay nor adaptation, only momentum. They are
    recognised by their rank, which survives saving and loading, not by name.

    Args:
        learning_rate: learning rate, a float or a schedule; it is outside the momentum buffer.
        momentum: decay of the momentum buffer, in [0, 1).
        weight_decay: weight decay of variables with more than one dimension.
        trust_coefficient: coefficient of the adaptation.

    Source: You et al., 2017 (https://arxiv.org/abs/1708.03888), with decay before the adaptation, as in the authors' implementation.

    Examples:
        >>> import pixpro_tf
        >>> import tensorflow as tf
        >>> weight = tf.Variable([[3.0], [4.0]])
        >>> optimizer = pixpro_tf.LARS(learning_rate=1.0, weight_decay=0.0, trust_coefficient=0.1)
        >>> _ = optimizer.apply_gradients([(tf.constant([[0.0], [1.0]]), weight)])
        >>> weight.numpy().tolist()  # a step of 0.1 * ||w|| along the gradient
        [[3.0], [3.5]]
    """

    def __init__(
        self,
        learning_rate: float | tf.keras.optimizers.schedules.LearningRateSchedule = 1.0,
        momentum: float = 0.9,
        weight_decay: float = 1e-5,
        trust_coefficient: float = 0.001,
        name: str = "LARS",
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, momentum, weight_decay, name=name, **kwargs)
        self.trust_coefficient = trust_coefficient

    def _regularize(self, gradient: tf.Tensor, variable: tf.Variable) -> tf.Tensor:
        if variable.shape.rank <= 1:
            return gradient
        gradient = super()._regularize(gradient, variable)
        weight_norm, gradient_norm = _norm(variable), _norm(gradient)
        ratio = self.trust_coefficient * weight_norm / (gradient_norm + NORM_EPSILON)
        # A zero-initialised weight has no norm to scale by, so its first steps use the plain learning rate.
        return gradient * tf.where((weight_norm > 0) & (gradient_norm > 0), ratio, 1.0)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"trust_coefficient": self.trust_coefficient}
