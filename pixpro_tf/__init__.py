"""PixPro in TensorFlow: dense self-supervised pre-training of visual backbones."""

from pixpro_tf import stack as _stack

__version__ = "0.1.0"

_stack.select_keras_2()
