"""PixPro in TensorFlow: dense self-supervised pre-training of visual backbones."""

from typing import TYPE_CHECKING

from pixpro_tf import keras2 as _stack

if TYPE_CHECKING:
    from pixpro_tf.storage.saved_model import load_backbone

__version__ = "0.1.0"
__all__ = ["load_backbone"]

_stack.select_keras_2()


def __getattr__(name: str) -> object:
    # Late, for it imports TensorFlow, and much of the package does without.
    if name == "load_backbone":
        from pixpro_tf.storage.saved_model import load_backbone

        return load_backbone
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
