"""Flags of the model: backbone, neck, projectors and initial weights."""

import dataclasses

from pixpro_tf.backbones.architectures import ARCHITECTURES
from pixpro_tf.config.flag import flag, refuse
from pixpro_tf.layers.layouts import LAYOUTS


@dataclasses.dataclass(frozen=True, init=False, repr=False, eq=False)
class ModelFlags:
    """Backbone, neck, projectors and initial weights."""

    backbone: str = flag("resnet50", "Model", "network to pre-train", choices=tuple(ARCHITECTURES))
    backbone_layout: str = flag(
        "torchvision",
        "Model",
        "padding and strides of the backbone: torchvision has symmetric padding and the stride on the 3x3 convolution; od_api, for the "
        "TF Object Detection API, has symmetric padding and the stride on the first 1x1; model_garden, for TF Model Garden, has SAME "
        "padding and the stride on the 3x3; mirror is torchvision with mirror padding, because zero padding reveals the "
        "position of every bin in small views; it can be exported only as a SavedModel",
        choices=LAYOUTS,
    )
    output_stride: int = flag(
        32,
        "Model",
        "stride of the last feature map: 32, 16 or 8; below 32, the last stages use dilation instead of strides",
        unit="pixels",
    )
    zero_init_residual: bool = flag(
        True,
        "Model",
        "zero-initialise the last BN scale of each residual block, as the authors do; off converges faster in short runs",
    )
    pixel_levels: str = flag(
        "c5",
        "Model",
        "maps that the pixel loss compares: c2 to c5 of the backbone, and p2 to p7 of an FPN that is trained with it; e.g. p3,p4,p5",
        used_by={"pixel_weight": ()},
    )
    fpn_channels: int = flag(
        256, "Model", "width of every level of the FPN", unit="channels", minimum=1
    )
    dense_head_layers: int = flag(
        0,
        "Model",
        "number of 3x3 convolutions after every level of the FPN; dense detectors have 4; 0 for none",
        minimum=0,
    )
    projector_hidden: int = flag(
        4096,
        "Model",
        "width of the hidden layers of the projectors (the paper says 2048)",
        unit="channels",
        minimum=1,
    )
    projector_dim: int = flag(
        256, "Model", "width of the output of the projectors", unit="channels", minimum=1
    )
    projector_layers: int = flag(
        2,
        "Model",
        "number of 1x1 convolutions in the pixel projector",
        unit="layers",
        minimum=1,
        used_by={"pixel_weight": ()},
    )
    projector_final_norm: bool = flag(
        False,
        "Model",
        "add batch norm after the last layer of the projectors, which keeps the features of small batches from drifting to a constant",
    )
    shared_projector: bool = flag(
        True,
        "Model",
        "share one projector and propagation module among all levels; off creates one for each level",
    )
    ema_momentum: float = flag(
        0.99,
        "Model",
        "EMA momentum of the target network in step 0; it rises to 1 on a cosine schedule",
    )
    init_from: str = flag(
        "",
        "Model",
        "initial weights: folder of a run, checkpoint, SavedModel, or TF Hub handle (folder, .tar.gz, gs://, https://); or those of "
        "ImageNet: keras:ResNet50, keras_hub:resnet_50_imagenet, or a .h5, .keras or .safetensors file; "
        "of a SavedModel, the weights are read and its program is not run",
        path=True,
    )
    init_from_other_layout: bool = flag(
        False,
        "Model",
        "accept initial weights of another layout; their features differ until they have been trained further",
        used_by={"init_from": ()},
    )

    @property
    def pixel_level_names(self) -> list[str]:
        """Maps that the pixel loss compares."""
        return [part.strip() for part in self.pixel_levels.split(",") if part.strip()]

    def stride_of(self, level: str) -> int:
        """Returns the stride of a level's map, in pixels."""
        stride = 2 ** int(level[1:])
        return stride if level.startswith("p") else min(stride, self.output_stride)

    def check_model(self) -> None:
        """Raises `ConfigError` if these flags are invalid on their own or in combination."""
        if self.output_stride not in (8, 16, 32):
            refuse(self, "output_stride", "is not supported; use 8, 16 or 32")
        if not 0 <= self.ema_momentum <= 1:
            refuse(self, "ema_momentum", "must be between 0 and 1; the paper uses 0.99")
