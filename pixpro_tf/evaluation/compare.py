"""Compares backbones on your labels: fine-tunes the same detector, or trains the same segmenter, from each of them.

python -m pixpro_tf.evaluation.compare --from=runs/mine --from=random --from=keras:ResNet50 --labels=annotations.json --output=compared
python -m pixpro_tf.evaluation.compare --from=runs/mine --from=random --task=segmentation --dataset=folder:masks --crop_size=256
"""

import dataclasses
import sys
from typing import Any

from pixpro_tf.cli.settings import MAX_SEED, data_dir_flag, from_flag, overwrite_flag
from pixpro_tf.config.data import on_bad_image_flag
from pixpro_tf.config.flag import check_used, flag, refuse
from pixpro_tf.config.limits import DownloadLimits
from pixpro_tf.errors import ConfigError
from pixpro_tf.evaluation import dense, detection
from pixpro_tf.evaluation.settings import BoxSettings, command, results_flag

RANDOM = "random"
TASKS = ("detection", "segmentation")
# Smallest learning rate that the evaluations allow.
_MIN_RATE = 1e-12
_SEGMENTATION: dict[str, Any] = {"task": ("segmentation",)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(DownloadLimits, BoxSettings):
    """Settings of the comparison.

    Raises:
        ConfigError: if a value is invalid, or values cannot be combined.
    """

    sources: tuple[str, ...] = from_flag(
        f", or {RANDOM} for random weights of the first backbone's architecture, or random:resnet50",
        repeated=True,
    )
    task: str = flag(
        "detection",
        "Evaluation",
        "detection: fine-tune a detector, as pixpro-evaluate detection does; segmentation: train a segmenter, as pixpro-evaluate dense does",
        choices=TASKS,
    )
    dataset: str = flag(
        "", "Data", "dataset instead of --labels; see pixpro-evaluate detection, or dense for masks"
    )
    data_dir: str = data_dir_flag()
    train_split: str = flag("train", "Data", "split of --dataset to train on")
    split: str = flag("validation", "Data", "split of --dataset to evaluate on")
    on_bad_image: str = on_bad_image_flag(used_by=_SEGMENTATION)
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
    )
    rate: float = flag(
        0.0,
        "Evaluation",
        f"learning rate; 0 for {detection.Settings.rate:g} in detection and {dense.Settings.rates[0]:g} in segmentation",
        minimum=0,
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
        used_by=_SEGMENTATION,
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
        if self.task == "segmentation":
            check_used(self, False, ["labels"], "--task=segmentation")
        check_used(
            self, not self.labels, ["train_split", "split", "data_dir"], f"--labels={self.labels}"
        )
        if 0 < self.rate < _MIN_RATE:
            refuse(self, "rate", f"is too small; use at least {_MIN_RATE:g}, or 0 for the default")
        # Mistakes in the flags of the evaluations are reported before anything is trained.
        for source in self.sources:
            self.evaluation(source, self.seed)

    def evaluation(self, source: str, seed: int) -> detection.Settings | dense.Settings:
        """Returns the settings of the evaluation of one backbone with one seed.

        Raises:
            ConfigError: if they are invalid.
        """
        shared: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("dataset", "data_dir", "train_split", "split", "batch_size", "epochs")
            if getattr(self, name)
        }
        shared |= {"source": source, "seed": seed}
        if self.task == "segmentation":
            if not self.dataset:
                raise ConfigError(
                    "--task=segmentation requires a dataset with masks; pass it, e.g. --dataset=folder:PATH"
                )
            if self.rate:
                shared["rates"] = (self.rate,)
            for name in ("on_bad_image", "mode", "level", "crop_size"):
                shared[name] = getattr(self, name)
            return dense.Settings(**shared)
        if self.rate:
            shared["rate"] = self.rate
        boxes = {field.name: getattr(self, field.name) for field in dataclasses.fields(BoxSettings)}
        return detection.Settings(**shared, **boxes)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Paths that the comparison reads, without datasets of TFDS."""
        return *self.sources, *self.files_of_labels


main = command(Settings, "compare", __doc__, library="pixpro_tf.evaluation.comparison.evaluation")


if __name__ == "__main__":
    sys.exit(main())
