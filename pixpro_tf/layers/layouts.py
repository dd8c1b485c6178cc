"""The layouts of convolutions, by the consumers that read them, as a table that needs no TensorFlow."""

# How maps are padded, and where blocks stride; see `Convolution` and `ResNet`.
LAYOUTS = ("torchvision", "od_api", "model_garden", "mirror")
