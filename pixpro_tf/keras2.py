"""Which Keras this project runs on: the one place that knows where the two stacks differ.

Python 3.10 and 3.11 run TensorFlow 2.15 with Keras 2.15, which is `tf.keras` there. Python 3.12 and newer run a current
TensorFlow, whose `tf.keras` is Keras 3 unless `TF_USE_LEGACY_KERAS` is set before TensorFlow is imported; Keras 2 is then
the package tf-keras. Nothing else in the project asks for a version.
"""

import os
import sys
import types

LEGACY_KERAS_VARIABLE = "TF_USE_LEGACY_KERAS"


def select_keras_2() -> None:
    """Makes `tf.keras` Keras 2; has to run before TensorFlow is imported.

    Raises:
        ImportError: if TensorFlow has been imported already and its `tf.keras` is Keras 3.
    """
    if sys.version_info < (3, 12):
        # TensorFlow 2.15 brings Keras 2 itself; the variable would swap in tf-keras, which tensorflow-addons does not use.
        os.environ.pop(LEGACY_KERAS_VARIABLE, None)
        return
    chosen = os.environ.setdefault(LEGACY_KERAS_VARIABLE, "1")
    if "keras" in sys.modules or (
        "tensorflow" in sys.modules and chosen.lower() not in ("1", "true")
    ):
        raise ImportError(
            "tf.keras is Keras 3 in this process, and pixpro_tf is written for Keras 2; "
            f"import pixpro_tf before tensorflow, or set {LEGACY_KERAS_VARIABLE}=1"
        )


def import_tensorflow_addons(wanted_by: str) -> types.ModuleType:
    """The package tensorflow_addons, which exists for TensorFlow 2.13 to 2.15 only.

    Args:
        wanted_by: what needs it, as the user named it (`--optimizer=lamb`).

    Raises:
        ModuleNotFoundError: where it is not installed; one line for the user.
    """
    try:
        import warnings

        with warnings.catch_warnings():
            # Its end-of-life notice, at every import, is answered by the stack's pinned versions.
            warnings.simplefilter("ignore")
            import tensorflow_addons
    except ImportError as error:
        raise ModuleNotFoundError(
            f"{wanted_by} needs tensorflow-addons, which this environment lacks (it exists for Python 3.10 and 3.11 only); "
            "run it there, or choose another value"
        ) from error
    return tensorflow_addons
