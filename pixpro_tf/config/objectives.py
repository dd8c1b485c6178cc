"""Flags of the objectives: the losses, their weights and their parameters."""

import dataclasses

from pixpro_tf.config.flag import flag, refuse


@dataclasses.dataclass(frozen=True, init=False, repr=False, eq=False)
class ObjectiveFlags:
    """Losses, their weights and their parameters."""

    pixel_weight: float = flag(
        1.0,
        "Objectives",
        "weight of the pixel loss; 0 trains the instance branch only",
        minimum=0,
    )
    pixel_loss: str = flag(
        "pixpro",
        "Objectives",
        "loss on pairs of bins (cells of a feature map): pixpro predicts the bins at the same position from propagated features; "
        "pixcontrast contrasts them with all other bins, without propagation",
        choices=("pixpro", "pixcontrast"),
        used_by={"pixel_weight": ()},
    )
    propagation: bool = flag(
        True,
        "Objectives",
        "propagate features between bins in pixpro; off predicts from the transform of each bin alone",
        used_by={"pixel_weight": (), "pixel_loss": ("pixpro",)},
    )
    ppm_layers: int = flag(
        1,
        "Objectives",
        "number of layers of the transform g in the propagation module of pixpro, 0 to 3",
        minimum=0,
        maximum=3,
        used_by={"pixel_weight": (), "pixel_loss": ("pixpro",)},
    )
    gamma: float = flag(
        2.0,
        "Objectives",
        "sharpness of the similarity in the propagation module of pixpro",
        minimum=0,
        used_by={"pixel_weight": (), "pixel_loss": ("pixpro",), "propagation": ()},
    )
    temperature: float = flag(
        0.3,
        "Objectives",
        "temperature of the PixContrast loss",
        used_by={"pixel_weight": (), "pixel_loss": ("pixcontrast",)},
    )
    negatives: str = flag(
        "image",
        "Objectives",
        "bins from which PixContrast distinguishes those at the same position: image for the other bins of the image, as in the paper; batch "
        "for the bins of the other images of the global batch; or both",
        choices=("image", "batch", "both"),
        used_by={"pixel_weight": (), "pixel_loss": ("pixcontrast",)},
    )
    positive_threshold: float = flag(
        0.7,
        "Objectives",
        "largest distance between the bins of a positive pair",
        unit="bin diagonals",
        used_by={"pixel_weight": ()},
    )
    instance_weight: float = flag(
        0.0, "Objectives", "weight of the instance loss; 0 removes the instance branch", minimum=0
    )
    instance_loss: str = flag(
        "regression",
        "Objectives",
        "loss on whole images: regression predicts the other view of an image, as in the authors' code; contrastive contrasts it with the "
        "other images of the global batch, as in the paper's SimCLR*",
        choices=("regression", "contrastive"),
        used_by={"instance_weight": ()},
    )
    instance_temperature: float = flag(
        0.2,
        "Objectives",
        "temperature of the contrastive instance loss",
        used_by={"instance_weight": (), "instance_loss": ("contrastive",)},
    )

    def check_objectives(self) -> None:
        """Raises `ConfigError` if these flags are invalid on their own or in combination."""
        if not self.positive_threshold > 0:
            refuse(self, "positive_threshold", "must be greater than 0; the paper uses 0.7")
        for name, usual in (("temperature", 0.3), ("instance_temperature", 0.2)):
            if not getattr(self, name) > 0:
                refuse(self, name, f"must be greater than 0; {usual} is usual")
        if not self.pixel_weight and not self.instance_weight:
            refuse(
                self,
                "pixel_weight",
                "leaves nothing to learn, because --instance_weight is 0 too; add --instance_weight=1",
            )
