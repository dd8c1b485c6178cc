"""Evaluates a backbone on semantic segmentation, with a linear layer on frozen features or fine-tuned with an FCN head.

python -m pixpro_tf.evaluation.dense --from=runs/mine --dataset=scenes/128 --data_dir=data
python -m pixpro_tf.evaluation.dense --from=exported/mine --dataset=voc:VOC2012 --split=val --mode=finetune --crop_size=512
"""

import dataclasses
import sys

from pixpro_tf.cli.settings import check_files
from pixpro_tf.config.data import on_bad_image_flag
from pixpro_tf.config.flag import check_used, flag, required
from pixpro_tf.errors import ConfigError
from pixpro_tf.evaluation.settings import MapSettings, command
from pixpro_tf.evaluation.splits import may_overlap

MODES = ("linear", "finetune")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(MapSettings):
    """Settings of the segmentation evaluation.

    Raises:
        ConfigError: if a value is invalid, or values cannot be combined.
    """

    dataset: str = required(
        "Data",
        "dataset with masks: scenes/128, composites/128, cityscapes (prepared by TFDS), voc:PATH (the folder VOC2012), or folder:PATH with "
        "PATH/classes.txt, PATH/SPLIT/images/X.jpg and PATH/SPLIT/masks/X.png",
    )
    on_bad_image: str = on_bad_image_flag()
    mode: str = flag(
        "linear",
        "Evaluation",
        "linear: train a linear layer on frozen features; finetune: train an FCN head and the backbone",
        choices=MODES,
    )
    train_split: str = flag("train", "Data", "split to train on")
    split: str = flag("validation", "Data", "split to evaluate on")
    selection_split: str = flag("", "Data", "split for choosing the best of several --rates")
    crop_size: int = flag(
        0,
        "Evaluation",
        "side of the random crops to train on; 0 trains on whole images, which must all have the same size",
        unit="pixels",
        minimum=0,
    )
    min_scale: float = flag(
        0.5,
        "Evaluation",
        "smallest factor by which images are scaled at random before they are cropped; 1, with --max_scale=1, if all objects have the same "
        "distance from the camera",
        minimum=0.01,
        maximum=100,
    )
    max_scale: float = flag(
        2.0,
        "Evaluation",
        "largest factor by which images are scaled at random before they are cropped",
        minimum=0.01,
        maximum=100,
    )
    margin: int = flag(
        0,
        "Evaluation",
        "width of the mirrored border that is added to whole images and cut off their feature maps, so that zero padding "
        "does not reveal where in the image a bin lies",
        unit="pixels",
        minimum=0,
        used_by={"mode": ("linear",)},
    )
    epochs: int = flag(20, "Evaluation", "number of passes over the training split", minimum=1)
    rates: tuple[float, ...] = flag(
        (0.01,),
        "Evaluation",
        "learning rates, comma-separated; the optimizer is Adam with --mode=linear and SGD with --mode=finetune",
        minimum=1e-12,
    )
    weight_decay: float = flag(
        1e-4,
        "Evaluation",
        "weight decay in fine-tuning",
        minimum=0,
        used_by={"mode": ("finetune",)},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_files(self, "dataset")
        # A slice such as train[:10%] is treated as the whole split, because slices may overlap.
        used = f"{self.split}+{self.train_split}"
        if len(self.rates) > 1 and (
            not self.selection_split or may_overlap(self.selection_split, used)
        ):
            raise ConfigError(
                f"--rates has {len(self.rates)} values; to choose the best of them, pass a --selection_split other than "
                f"--split={self.split} and --train_split={self.train_split}"
            )
        if len(self.rates) == 1 and self.selection_split:
            raise ConfigError(
                f"--selection_split={self.selection_split} has no effect with a single learning rate; pass several --rates, or remove it"
            )
        check_used(self, bool(self.crop_size), ["min_scale", "max_scale"], "--crop_size=0")
        if self.min_scale > self.max_scale:
            raise ConfigError(
                f"--min_scale={self.min_scale:g} must be at most --max_scale={self.max_scale:g}"
            )
        if self.margin and self.crop_size:
            raise ConfigError(
                f"--margin={self.margin} requires whole images; remove --crop_size={self.crop_size}"
            )
        if self.mode == "finetune" and not self.crop_size:
            raise ConfigError(
                "--mode=finetune trains on random crops; pass their size, such as --crop_size=512"
            )


main = command(Settings, "dense", __doc__, library="pixpro_tf.evaluation.segmentation.evaluation")


if __name__ == "__main__":
    sys.exit(main())
