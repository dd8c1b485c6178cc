"""Flags of the model: backbone, neck, projectors, and the weights to start from."""

import dataclasses

from pixpro_tf.backbones.architectures import ARCHITECTURES
from pixpro_tf.config.flag import flag, refuse
from pixpro_tf.layers.layouts import LAYOUTS


@dataclasses.dataclass(frozen=True, init=False, repr=False, eq=False)
class ModelFlags:
    """Backbone, neck, projectors, and the weights to start from."""

    backbone: str = flag("resnet50", "Model", "network to pre-train", choices=tuple(ARCHITECTURES))
    backbone_layout: str = flag(
        "torchvision",
        "Model",
        "torchvision: symmetric padding, stride on the 3x3; od_api: symmetric padding, stride on the first 1x1, for the TF "
        "Object Detection API; model_garden: SAME padding, stride on the 3x3, for TF Model Garden; mirror: as torchvision, padded by the "
        "mirrored map, for small views, where zeros tell every bin its place; only SavedModels take it along",
        choices=LAYOUTS,
    )
    output_stride: int = flag(
        32,
        "Model",
        "32, 16 or 8: below 32 the last stages dilate instead of striding",
        unit="pixels",
    )
    zero_init_residual: bool = flag(
        True,
        "Model",
        "the last BN scale of every residual block starts at 0, as the authors' does; at 1 the loss of a short run falls sooner",
    )
    pixel_levels: str = flag(
        "c5",
        "Model",
        "maps that the pixel loss compares: c2 to c5 of the backbone, p2 to p7 of an FPN that is pre-trained with it; as p3,p4,p5",
        used_by={"pixel_weight": ()},
    )
    fpn_channels: int = flag(256, "Model", "of every level", unit="channels", minimum=1)
    dense_head_layers: int = flag(
        0,
        "Model",
        "3x3 convolutions behind every level of the FPN, as dense detectors have four; 0 is none",
        minimum=0,
    )
    projector_hidden: int = flag(
        4096,
        "Model",
        "channels inside the projector (the paper says 2048)",
        unit="channels",
        minimum=1,
    )
    projector_dim: int = flag(256, "Model", "channels of a projection", unit="channels", minimum=1)
    projector_layers: int = flag(
        2,
        "Model",
        "1x1 convolutions of the pixel projector",
        unit="layers",
        minimum=1,
        used_by={"pixel_weight": ()},
    )
    projector_final_norm: bool = flag(
        False,
        "Model",
        "BN behind the projectors' last layer too, which keeps small batches from drifting to a constant",
    )
    shared_projector: bool = flag(
        True, "Model", "one projector and propagation for all levels, or one for each"
    )
    ema_momentum: float = flag(
        0.99, "Model", "momentum of the target network in step 0; a cosine takes it to 1"
    )
    init_from: str = flag(
        "",
        "Model",
        "weights to start from: a run's folder, a checkpoint, a SavedModel, or a TF Hub handle (folder, .tar.gz, gs://, https://); "
        "a SavedModel is a program: load only those you trust",
    )

    @property
    def pixel_level_names(self) -> list[str]:
        """Maps that the pixel loss compares."""
        return [part.strip() for part in self.pixel_levels.split(",") if part.strip()]

    def stride_of(self, level: str) -> int:
        """Pixels from one bin of a level's map to the next."""
        stride = 2 ** int(level[1:])
        return stride if level.startswith("p") else min(stride, self.output_stride)

    def check_model(self) -> None:
        """Raises `ConfigError` for a combination of these flags that cannot be."""
        if self.output_stride not in (8, 16, 32):
            refuse(self, "output_stride", "is not built; give 8, 16 or 32")
        if not 0 <= self.ema_momentum <= 1:
            refuse(
                self,
                "ema_momentum",
                "is no momentum; give a number from 0 to 1, the paper's is 0.99",
            )
