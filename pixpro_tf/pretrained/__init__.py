"""Weights that others have published, as arrays that fit this project's backbones."""

from pixpro_tf.pretrained.reading import Pretrained, is_pretrained, read

__all__ = ["Pretrained", "is_pretrained", "read"]
