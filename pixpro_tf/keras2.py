"""Selection of Keras 2: the only module that depends on which of the two supported stacks is installed.

Python 3.10 and 3.11 use TensorFlow 2.15, whose `tf.keras` is Keras 2.15. Python 3.12 and newer use a current TensorFlow, whose
`tf.keras` is Keras 3 unless `TF_USE_LEGACY_KERAS` is set before TensorFlow is imported; Keras 2 is then the package tf-keras. No
other module of the project checks a version.
"""

import os
import sys

LEGACY_KERAS_VARIABLE = "TF_USE_LEGACY_KERAS"


def select_keras_2() -> None:
    """Makes `tf.keras` Keras 2; must run before TensorFlow is imported.

    Raises:
        ImportError: if TensorFlow is already imported and its `tf.keras` is Keras 3.
    """
    if sys.version_info < (3, 12):
        # TensorFlow 2.15 includes Keras 2; the variable would replace it with tf-keras, another package.
        os.environ.pop(LEGACY_KERAS_VARIABLE, None)
        return
    # TensorFlow knows no other values.
    was_chosen = os.environ.get(LEGACY_KERAS_VARIABLE) in ("1", "true", "True")
    if "tensorflow" not in sys.modules or LEGACY_KERAS_VARIABLE not in os.environ:
        # Another value is meant for other programs: this package cannot do without Keras 2.
        os.environ[LEGACY_KERAS_VARIABLE] = "1"
    chosen = os.environ[LEGACY_KERAS_VARIABLE] in ("1", "true", "True")
    # With the variable, tf.keras is Keras 2 even if the program has imported keras, which is Keras 3.
    if ("keras" in sys.modules and not was_chosen) or ("tensorflow" in sys.modules and not chosen):
        raise ImportError(
            "tf.keras is Keras 3 in this process, but pixpro_tf requires Keras 2; "
            f"import pixpro_tf before tensorflow, or set {LEGACY_KERAS_VARIABLE}=1"
        )
