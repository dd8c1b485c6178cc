"""Compares backbones on your images: fine-tunes the same detector, or trains the same segmenter, from each of them; or matches views without labels.

python -m pixpro_tf.evaluation.compare --from=runs/mine --from=random --from=keras:ResNet50 --labels=annotations.json --output=compared
python -m pixpro_tf.evaluation.compare --from=runs/mine --from=random --task=segmentation --dataset=folder:masks --crop_size=256
python -m pixpro_tf.evaluation.compare --from=runs/mine --from=random --task=matching --dataset=folder:photographs
"""

import dataclasses
import sys
from typing import Any

from pixpro_tf.cli.settings import (
    MAX_SEED,
    data_dir_flag,
    from_flag,
    has_splits,
    overwrite_flag,
)
from pixpro_tf.config.data import on_bad_image_flag
from pixpro_tf.config.flag import check_used, flag, refuse
from pixpro_tf.config.limits import DownloadLimits
from pixpro_tf.errors import ConfigError
from pixpro_tf.evaluation import correspondence, dense, detection
from pixpro_tf.evaluation.settings import BoxSettings, command, results_flag

RANDOM = "random"
TASKS = ("detection", "segmentation", "matching")
# Smallest learning rate that the evaluations allow.
_MIN_RATE = 1e-12
_SEGMENTATION: dict[str, Any] = {"task": ("segmentation",)}
_TRAINED: dict[str, Any] = {"task": ("detection", "segmentation")}
_ONE_MAP: dict[str, Any] = {"task": ("segmentation", "matching")}

_SHARED = ("dataset", "data_dir", "split", "batch_size")
_OF_TRAINING = ("train_split", "epochs")
_OF_MAPS = ("on_bad_image", "level", "output_stride")
# Flags that are those of the evaluation too, by task.
_PASSED: dict[str, tuple[str, ...]] = {
    "detection": (
        *_SHARED,
        *_OF_TRAINING,
        *(field.name for field in dataclasses.fields(BoxSettings)),
    ),
    "segmentation": (*_SHARED, *_OF_TRAINING, *_OF_MAPS, "mode", "crop_size"),
    "matching": (*_SHARED, *_OF_MAPS, "image_size"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(DownloadLimits, BoxSettings):
    """Settings of the comparison.

    Raises:
        ConfigError: if a value is invalid, or values cannot be combined.
    """

    sources: tuple[str, ...] = from_flag(
        f", or {RANDOM} for random weights in the architecture and layout of the first of the others, or random:resnet50",
        repeated=True,
    )
    task: str = flag(
        "detection",
        "Evaluation",
        "detection: fine-tune a detector, as pixpro-evaluate detection does; segmentation: train a segmenter, as pixpro-evaluate dense does; "
        "matching: match views of images without labels, as pixpro-evaluate correspondence does",
        choices=TASKS,
    )
    dataset: str = flag(
        "",
        "Data",
        "dataset instead of --labels; see pixpro-evaluate detection, dense for masks, or correspondence for images without labels",
    )
    data_dir: str = data_dir_flag()
    train_split: str = flag("train", "Data", "split of --dataset to train on", used_by=_TRAINED)
    split: str = flag("validation", "Data", "split of --dataset to evaluate on")
    on_bad_image: str = on_bad_image_flag(used_by=_ONE_MAP)
    image_size: int = flag(
        0,
        "Data",
        "side of the square that the images of --labels are fitted into, or of the views to match; "
        f"0 for {BoxSettings.image_size} and {correspondence.Settings.image_size}",
        unit="pixels",
        minimum=0,
    )
    seeds: int = flag(
        3,
        "Evaluation",
        "number of trainings of each backbone, with seeds that follow --seed",
        minimum=1,
    )
    seed: int = flag(0, "Evaluation", "first random seed", minimum=0, maximum=MAX_SEED - 1000)
    batch_size: int = flag(16, "Evaluation", "number of images per batch", minimum=1)
    epochs: int = flag(
        0,
        "Evaluation",
        f"number of passes over the training split; 0 for {detection.Settings.epochs} in detection and {dense.Settings.epochs} in segmentation",
        minimum=0,
        used_by=_TRAINED,
    )
    rate: float = flag(
        0.0,
        "Evaluation",
        f"learning rate; 0 for {detection.Settings.rate:g} in detection and {dense.Settings.rates[0]:g} in segmentation",
        minimum=0,
        used_by=_TRAINED,
    )
    mode: str = flag(
        "linear",
        "Evaluation",
        "linear: train a linear layer on frozen features; finetune: train an FCN head and the backbone",
        choices=dense.MODES,
        used_by=_SEGMENTATION,
    )
    level: str = flag(
        "c5",
        "Evaluation",
        "feature map to evaluate",
        choices=("c2", "c3", "c4", "c5"),
        used_by=_ONE_MAP,
    )
    output_stride: int = flag(
        0,
        "Backbone",
        "output stride of all backbones, reached by dilation if necessary; 0 for that of the first one that was trained",
        choices=(0, 8, 16, 32),
        used_by=_ONE_MAP,
    )
    crop_size: int = flag(
        0,
        "Evaluation",
        "side of the random crops to train on; 0 trains on whole images, which must all have the same size",
        unit="pixels",
        minimum=0,
        used_by=_SEGMENTATION,
    )
    output: str = results_flag()
    overwrite: bool = overwrite_flag()

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.sources) < 2:
            rule = f"is the only backbone; add another one, e.g. --from={RANDOM}"
            if self.sources == (RANDOM,):
                rule = "uses the architecture of another backbone; add one, e.g. --from=runs/mine"
            raise ConfigError(f"--from={self.sources[0]} {rule}")
        for source in self.sources:
            if self.sources.count(source) > 1:
                raise ConfigError(f"--from={source} is passed twice; remove one of them")
        if self.task != "detection":
            check_used(self, False, ["labels"], f"--task={self.task}")
        sized = bool(self.labels) or self.task == "matching"
        check_used(self, sized, ["image_size"], f"--task={self.task} without --labels")
        if self.task == "matching" and not has_splits(self.dataset):
            check_used(self, False, ["split"], f"--dataset={self.dataset}")
        check_used(
            self, not self.labels, ["train_split", "split", "data_dir"], f"--labels={self.labels}"
        )
        if 0 < self.rate < _MIN_RATE:
            refuse(self, "rate", f"is too small; use at least {_MIN_RATE:g}, or 0 for the default")
        # Mistakes in the flags of the evaluations are reported before anything is trained.
        for source in self.sources:
            self.evaluation(source, self.seed)

    def evaluation(
        self, source: str, seed: int
    ) -> detection.Settings | dense.Settings | correspondence.Settings:
        """Returns the settings of the evaluation of one backbone with one seed.

        Raises:
            ConfigError: if they are invalid.
        """
        names = _PASSED[self.task]
        if self.task == "matching" and not has_splits(self.dataset):
            names = tuple(name for name in names if name != "split")
        # 0 stands for the default of the evaluation.
        shared: dict[str, Any] = {
            name: getattr(self, name) for name in names if getattr(self, name)
        }
        shared |= {"source": source, "seed": seed}
        if self.rate:
            shared |= {"rate": self.rate} if self.task == "detection" else {"rates": (self.rate,)}
        if self.task == "detection":
            return detection.Settings(**shared)
        if not self.dataset:
            kind = "a dataset with masks" if self.task == "segmentation" else "images"
            raise ConfigError(
                f"--task={self.task} requires {kind}; pass it, e.g. --dataset=folder:PATH"
            )
        if self.task == "matching":
            return correspondence.Settings(**shared)
        return dense.Settings(**shared)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Paths that the comparison reads, without datasets of TFDS."""
        return *self.sources, *self.files_of_labels, self.dataset


main = command(Settings, "compare", __doc__, library="pixpro_tf.evaluation.comparison.evaluation")


if __name__ == "__main__":
    sys.exit(main())
