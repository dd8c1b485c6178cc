"""Flags of the objectives: which losses, their weights and their parameters."""

import dataclasses

from pixpro_tf.config.flag import flag, refuse


@dataclasses.dataclass(frozen=True, init=False, repr=False, eq=False)
class ObjectiveFlags:
    """Which losses, their weights and their parameters."""

    pixel_weight: float = flag(
        1.0,
        "Objectives",
        "weight of the pixel loss; 0 leaves the instance branch alone",
        minimum=0,
    )
    pixel_loss: str = flag(
        "pixpro",
        "Objectives",
        "pixpro: a propagated bin predicts those of the same place; pixcontrast: it tells them from the others, without propagation",
        choices=("pixpro", "pixcontrast"),
        used_by={"pixel_weight": ()},
    )
    propagation: bool = flag(
        True,
        "Objectives",
        "pixpro: a bin predicts by what is propagated to it; without it, by its own transform alone",
        used_by={"pixel_weight": (), "pixel_loss": ("pixpro",)},
    )
    ppm_layers: int = flag(
        1,
        "Objectives",
        "pixpro: layers of the transform g in the propagation module, 0 to 3",
        minimum=0,
        used_by={"pixel_weight": (), "pixel_loss": ("pixpro",)},
    )
    gamma: float = flag(
        2.0,
        "Objectives",
        "pixpro: sharpness of the similarity in the propagation",
        minimum=0,
        used_by={"pixel_weight": (), "pixel_loss": ("pixpro",), "propagation": ()},
    )
    temperature: float = flag(
        0.3,
        "Objectives",
        "of pixcontrast",
        used_by={"pixel_weight": (), "pixel_loss": ("pixcontrast",)},
    )
    positive_threshold: float = flag(
        0.7,
        "Objectives",
        "largest distance of a positive pair",
        unit="bin diagonals",
        used_by={"pixel_weight": ()},
    )
    instance_weight: float = flag(
        0.0, "Objectives", "weight of the instance loss; 0 is without the branch", minimum=0
    )
    instance_loss: str = flag(
        "regression",
        "Objectives",
        "regression: an image predicts its other view, as in the authors' code; contrastive: it tells that from the other images of "
        "the global batch, the paper's SimCLR*",
        choices=("regression", "contrastive"),
        used_by={"instance_weight": ()},
    )
    instance_temperature: float = flag(
        0.2,
        "Objectives",
        "of --instance_loss=contrastive",
        used_by={"instance_weight": (), "instance_loss": ("contrastive",)},
    )

    def check_objectives(self) -> None:
        """Raises `ConfigError` for a combination of these flags that cannot be."""
        if self.ppm_layers > 3:
            refuse(self, "ppm_layers", "is too deep; give 0 to 3")
        if not self.positive_threshold > 0:
            refuse(
                self,
                "positive_threshold",
                "leaves no positive pair; give a number above 0, the paper's is 0.7",
            )
        for name, usual in (("temperature", 0.3), ("instance_temperature", 0.2)):
            if not getattr(self, name) > 0:
                refuse(self, name, f"is no temperature; give a number above 0, {usual} is usual")
        if not self.pixel_weight and not self.instance_weight:
            refuse(
                self, "pixel_weight", "leaves nothing to learn; give --instance_weight=1 with it"
            )
