"""LAMB from tensorflow-addons, with variables excluded from weight decay and adaptation by their rank."""

import tensorflow as tf

from pixpro_tf import keras2


def make_lamb(
    learning_rate: float | tf.keras.optimizers.schedules.LearningRateSchedule, weight_decay: float
) -> tf.keras.optimizers.legacy.Optimizer:
    """Returns LAMB without weight decay or adaptation for one-dimensional variables (BN, biases).

    Args:
        learning_rate: learning rate, a float or a schedule.
        weight_decay: weight decay of variables with more than one dimension; decoupled, as LAMB defines it.

    Raises:
        ModuleNotFoundError: if tensorflow-addons is not installed.
    """
    addons = keras2.import_tensorflow_addons("--optimizer=lamb")

    class LAMB(addons.optimizers.LAMB):  # type: ignore[name-defined]
        # tensorflow-addons excludes variables by patterns of their names; these two hooks use the rank instead.
        def _do_use_weight_decay(self, variable: tf.Variable) -> bool:
            return variable.shape.rank > 1

        def _do_layer_adaptation(self, variable: tf.Variable) -> bool:
            return variable.shape.rank > 1

    return LAMB(learning_rate, weight_decay=weight_decay)
