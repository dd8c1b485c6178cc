"""LAMB from tensorflow-addons, with decay and adaptation excluded by rank."""

import tensorflow as tf

from pixpro_tf import keras2


def make_lamb(
    learning_rate: float | tf.keras.optimizers.schedules.LearningRateSchedule, weight_decay: float
) -> tf.keras.optimizers.legacy.Optimizer:
    """LAMB whose one-dimensional variables (BN, biases) get neither decay nor adaptation.

    Args:
        learning_rate: float or schedule.
        weight_decay: of variables with more than one dimension; decoupled, as LAMB has it.

    Raises:
        ModuleNotFoundError: where tensorflow-addons is not installed.
    """
    addons = keras2.import_tensorflow_addons("--optimizer=lamb")

    class LAMB(addons.optimizers.LAMB):  # type: ignore[name-defined]
        # tensorflow-addons excludes by patterns on names; these two hooks ask for the rank instead.
        def _do_use_weight_decay(self, variable: tf.Variable) -> bool:
            return variable.shape.rank > 1

        def _do_layer_adaptation(self, variable: tf.Variable) -> bool:
            return variable.shape.rank > 1

    return LAMB(learning_rate, weight_decay=weight_decay)
