"""Image classification from a frozen backbone: a linear layer on its pooled features, or their nearest neighbours.

python -m pixpro_tf.evaluation.linear --from=runs/mine --dataset=imagenet2012
python -m pixpro_tf.evaluation.linear --from=exported/mine --dataset=food101 --mode=knn
"""

import dataclasses
import sys

from pixpro_tf.config.flag import flag, required
from pixpro_tf.evaluation.settings import MapSettings, command

MODES = ("linear", "knn")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(MapSettings):
    """How a classification is trained and scored; raises `ConfigError` for values that cannot be."""

    dataset: str = required(
        "Data",
        "a TFDS name whose images have a class, as imagenet2012 or food101, or folder:PATH with images as PATH/SPLIT/CLASS/NAME.jpg",
    )
    mode: str = flag(
        "linear",
        "Evaluation",
        "a linear layer on frozen, pooled features, or the nearest neighbours among the training images",
        choices=MODES,
    )
    train_split: str = flag("train", "Data", "whose classes are known")
    split: str = flag("validation", "Data", "on which the scores are taken")
    image_size: int = flag(224, "Data", "side of the square views", unit="pixels", minimum=1)
    batch_size: int = flag(256, "Evaluation", "images at once", minimum=1)
    epochs: int = flag(
        100,
        "Linear layer",
        "passes over the training split",
        minimum=1,
        used_by={"mode": ("linear",)},
    )
    rate: float = flag(
        30.0,
        "Linear layer",
        "learning rate of SGD, a tenth of it after 60 and 80 % of the epochs",
        minimum=1e-12,
        used_by={"mode": ("linear",)},
    )
    min_crop_area: float = flag(
        0.08,
        "Linear layer",
        "smallest area of a crop",
        unit="share of the image",
        minimum=1e-6,
        maximum=1,
        used_by={"mode": ("linear",)},
    )
    neighbours: int = flag(
        20, "Nearest neighbours", "how many vote", minimum=1, used_by={"mode": ("knn",)}
    )
    temperature: float = flag(
        0.07,
        "Nearest neighbours",
        "a vote weighs exp(cosine / temperature); 0 counts all alike",
        minimum=0,
        used_by={"mode": ("knn",)},
    )


main = command(
    Settings, "linear", __doc__, library="pixpro_tf.evaluation.classification.evaluation"
)


if __name__ == "__main__":
    sys.exit(main())
