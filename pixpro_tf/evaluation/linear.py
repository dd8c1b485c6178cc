"""Evaluates a frozen backbone on image classification, with a linear layer on pooled features or by nearest neighbours.

python -m pixpro_tf.evaluation.linear --from=runs/mine --dataset=imagenet2012
python -m pixpro_tf.evaluation.linear --from=exported/mine --dataset=food101 --mode=knn
"""

import dataclasses
import sys

from pixpro_tf.cli.settings import check_files
from pixpro_tf.config.data import on_bad_image_flag
from pixpro_tf.config.flag import flag, required
from pixpro_tf.evaluation.settings import MapSettings, command

MODES = ("linear", "knn")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(MapSettings):
    """Settings of the classification evaluation; raises `ConfigError` if a value is invalid."""

    dataset: str = required(
        "Data",
        "dataset with one class per image: a TFDS name such as imagenet2012 or food101, or folder:PATH with images "
        "PATH/SPLIT/CLASS/NAME.jpg",
    )
    on_bad_image: str = on_bad_image_flag()
    mode: str = flag(
        "linear",
        "Evaluation",
        "linear: train a linear layer on frozen, pooled features; knn: classify by a vote of the nearest training images",
        choices=MODES,
    )
    train_split: str = flag("train", "Data", "split of the training images")
    split: str = flag("validation", "Data", "split to evaluate on")
    image_size: int = flag(224, "Data", "side of the square crops", unit="pixels", minimum=1)
    batch_size: int = flag(256, "Evaluation", "number of images per batch", minimum=1)
    epochs: int = flag(
        100,
        "Linear layer",
        "number of passes over the training split",
        minimum=1,
        used_by={"mode": ("linear",)},
    )
    rate: float = flag(
        30.0,
        "Linear layer",
        "initial learning rate of SGD, divided by 10 after 60 % and again after 80 % of the epochs",
        minimum=1e-12,
        used_by={"mode": ("linear",)},
    )
    min_crop_area: float = flag(
        0.08,
        "Linear layer",
        "smallest area of a training crop",
        unit="fraction of the image",
        minimum=1e-6,
        maximum=1,
        used_by={"mode": ("linear",)},
    )
    neighbours: int = flag(
        20,
        "Nearest neighbours",
        "number of neighbours that vote",
        minimum=1,
        used_by={"mode": ("knn",)},
    )
    temperature: float = flag(
        0.07,
        "Nearest neighbours",
        "temperature of the votes, whose weights are exp(cosine / temperature); 0 weights all votes equally",
        minimum=0,
        used_by={"mode": ("knn",)},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_files(self, "dataset")


main = command(
    Settings, "linear", __doc__, library="pixpro_tf.evaluation.classification.evaluation"
)


if __name__ == "__main__":
    sys.exit(main())
