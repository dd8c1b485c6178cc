"""Image classification from a frozen backbone: a linear layer on its pooled features, or their nearest neighbours.

python -m pixpro_tf.evaluation.linear --from=runs/mine --dataset=imagenet2012
python -m pixpro_tf.evaluation.linear --from=exported/mine --dataset=food101 --mode=knn
"""

import dataclasses
import sys

from pixpro_tf.errors import ConfigError
from pixpro_tf.evaluation import flags
from pixpro_tf.evaluation.flags import command, flag, refuse_unheard

MODES = ("linear", "knn")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(flags.MapSettings):
    """How a classification is trained and scored; raises `ConfigError` for values that cannot be."""

    dataset: str = flag(
        "a TFDS name whose images have a class, as imagenet2012 or food101, or folder:PATH with images as PATH/SPLIT/CLASS/NAME.jpg"
    )
    mode: str = flag(
        "a linear layer on frozen, pooled features, or the nearest neighbours among the training images",
        "linear",
        choices=MODES,
    )
    train_split: str = flag("whose classes are known", "train")
    split: str = flag("on which the scores are taken", "validation")
    image_size: int = flag("side of the views in pixels", 224, minimum=1)
    batch_size: int = flag("images at once", 256, minimum=1)
    epochs: int = flag("linear: passes over the training split", 100, minimum=1)
    rate: float = flag(
        "linear: learning rate of SGD, a tenth of it after 60 and 80 % of the epochs",
        30.0,
        minimum=1e-12,
    )
    min_crop_area: float = flag("linear: smallest share of the image in a crop", 0.08, minimum=1e-6)
    neighbours: int = flag("knn: how many vote", 20, minimum=1)
    temperature: float = flag(
        "knn: a vote weighs exp(cosine / temperature); 0 counts all alike", 0.07, minimum=0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode == "knn":
            refuse_unheard(self, ["epochs", "rate", "min_crop_area"], "in --mode=knn")
        else:
            refuse_unheard(self, ["neighbours", "temperature"], "in --mode=linear")
        if self.min_crop_area > 1:
            raise ConfigError(
                f"--min_crop_area={self.min_crop_area:g} is a share; it must be at most 1"
            )


main = command(
    Settings,
    "pixpro_tf.evaluation.linear",
    __doc__ or "",
    library="pixpro_tf.evaluation.classification.evaluation",
)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
