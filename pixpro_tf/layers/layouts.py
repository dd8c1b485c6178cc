"""Layouts of the convolutions, named after the consumers of the weights; a table that does not import TensorFlow."""

# A layout determines how maps are padded and where blocks stride; see `Convolution` and `ResNet`.
LAYOUTS = ("torchvision", "od_api", "model_garden", "mirror")
