"""Semantic segmentation from a backbone: a linear layer on its frozen features, or all of it fine-tuned with an FCN head.

python -m pixpro_tf.evaluation.dense --from=runs/mine --dataset=scenes/128 --data_dir=data
python -m pixpro_tf.evaluation.dense --from=exported/mine --dataset=voc:VOC2012 --split=val --mode=finetune --crop_size=512
"""

import dataclasses
import sys

from pixpro_tf.config.flag import flag, required
from pixpro_tf.errors import ConfigError
from pixpro_tf.evaluation.settings import MapSettings, command

MODES = ("linear", "finetune")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(MapSettings):
    """How a segmentation is trained and scored.

    Raises:
        ConfigError: for values that cannot be, or do not go together.
    """

    dataset: str = required(
        "Data", "scenes/128, scenes/256, cityscapes as TFDS has it, voc:PATH or folder:PATH"
    )
    mode: str = flag(
        "linear",
        "Evaluation",
        "a linear layer on frozen features, or an FCN head with everything trained",
        choices=MODES,
    )
    train_split: str = flag("train", "Data", "on which the head is trained")
    split: str = flag("validation", "Data", "on which the scores are taken")
    selection_split: str = flag("", "Data", "on which the best of several rates is chosen")
    crop_size: int = flag(
        0,
        "Evaluation",
        "side of random crops to train on; 0 for whole images, which then have to be of one size",
        unit="pixels",
        minimum=0,
    )
    margin: int = flag(
        0,
        "Evaluation",
        "width by which whole images are continued on all sides, mirrored, and which is cut off the maps, so that "
        "zero padding does not tell where in the image a bin lies",
        unit="pixels",
        minimum=0,
        used_by={"mode": ("linear",)},
    )
    epochs: int = flag(20, "Evaluation", "passes over the training split", minimum=1)
    rates: tuple[float, ...] = flag(
        (0.01,),
        "Evaluation",
        "learning rates, with commas: of Adam for the linear layer, of SGD in fine-tuning",
        minimum=1e-12,
    )
    weight_decay: float = flag(
        1e-4, "Evaluation", "in fine-tuning", minimum=0, used_by={"mode": ("finetune",)}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        # Parts of a split, as train[:10%], count as the whole: they may overlap.
        others = [_whole(self.split), _whole(self.train_split)]
        if len(self.rates) > 1 and _whole(self.selection_split) in ("", *others):
            raise ConfigError(
                f"--rates has {len(self.rates)} values: give a --selection_split other than --split={self.split} "
                f"and --train_split={self.train_split}, on which the best of them is chosen"
            )
        if len(self.rates) == 1 and self.selection_split:
            raise ConfigError(
                f"--selection_split={self.selection_split} has nothing to choose between; give several --rates, or leave it out"
            )
        if self.margin and self.crop_size:
            raise ConfigError(
                f"--margin={self.margin} is for whole images; leave out --crop_size={self.crop_size}"
            )
        if self.mode == "finetune" and not self.crop_size:
            raise ConfigError(
                "--mode=finetune trains on random crops; give their --crop_size, as 512"
            )


def _whole(split: str) -> str:
    return split.partition("[")[0]


main = command(Settings, "dense", __doc__, library="pixpro_tf.evaluation.segmentation.evaluation")


if __name__ == "__main__":
    sys.exit(main())
