"""Selection of Keras 2: the only module that depends on which of the two supported stacks is installed.

Python 3.10 and 3.11 use TensorFlow 2.15, whose `tf.keras` is Keras 2.15. Python 3.12 and newer use a current TensorFlow, whose
`tf.keras` is Keras 3 unless `TF_USE_LEGACY_KERAS` is set before TensorFlow is imported; Keras 2 is then the package tf-keras. No
other module of the project checks a version.
"""

import os
import sys
import types
import warnings

LEGACY_KERAS_VARIABLE = "TF_USE_LEGACY_KERAS"


def select_keras_2() -> None:
    """Makes `tf.keras` Keras 2; must run before TensorFlow is imported.

    Raises:
        ImportError: if TensorFlow is already imported and its `tf.keras` is Keras 3.
    """
    if sys.version_info < (3, 12):
        # TensorFlow 2.15 includes Keras 2; the variable would replace it with tf-keras, which tensorflow-addons does not use.
        os.environ.pop(LEGACY_KERAS_VARIABLE, None)
        return
    chosen = os.environ.setdefault(LEGACY_KERAS_VARIABLE, "1")
    if "keras" in sys.modules or (
        "tensorflow" in sys.modules and chosen.lower() not in ("1", "true")
    ):
        raise ImportError(
            "tf.keras is Keras 3 in this process, but pixpro_tf requires Keras 2; "
            f"import pixpro_tf before tensorflow, or set {LEGACY_KERAS_VARIABLE}=1"
        )


def import_tensorflow_addons(wanted_by: str) -> types.ModuleType:
    """Imports the package tensorflow_addons, which exists for TensorFlow 2.13 to 2.15 only.

    Args:
        wanted_by: setting that needs the package, as the user wrote it, e.g. `--optimizer=lamb`.

    Raises:
        ModuleNotFoundError: if the package is not installed; the message is one line for the user.
    """
    try:
        with warnings.catch_warnings():
            # The package warns at every import that its development has ended; the pinned versions of this stack take care of that.
            warnings.simplefilter("ignore")
            import tensorflow_addons
    except ImportError as error:
        raise ModuleNotFoundError(
            f"{wanted_by} needs tensorflow-addons, which is not installed; "
            "install it (Python 3.10 and 3.11 only), or use another value"
        ) from error
    return tensorflow_addons
