"""Evaluates a backbone on object detection: fine-tunes a small anchor-free detector and computes COCO's average precision.

python -m pixpro_tf.evaluation.detection --from=runs/mine --dataset=scenes/128 --data_dir=data
python -m pixpro_tf.evaluation.detection --from=runs/mine --labels=annotations.json
"""

import dataclasses
import sys

from pixpro_tf.cli.settings import names_in
from pixpro_tf.config.flag import check_used, flag
from pixpro_tf.errors import ConfigError
from pixpro_tf.evaluation import settings
from pixpro_tf.evaluation.settings import BoxSettings, command

# Defaults of a detector whose backbone comes without a pre-trained FPN and head.
DEFAULT_CHANNELS, DEFAULT_HEAD_LAYERS = 64, 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(settings.Settings, BoxSettings):
    """Settings of the detection evaluation; raises `ConfigError` if a value is invalid."""

    dataset: str = flag(
        "",
        "Data",
        "dataset with boxes: scenes/128, composites/128, or a TFDS name; all images must have the same size",
    )
    train_split: str = flag("train", "Data", "split of --dataset to train on")
    split: str = flag("validation", "Data", "split of --dataset to evaluate on")
    epochs: int = flag(12, "Evaluation", "number of passes over the training split", minimum=1)
    rate: float = flag(
        1e-3, "Evaluation", "peak learning rate of Adam, reached after a warm-up", minimum=1e-12
    )
    channels: int = flag(
        0,
        "Evaluation",
        f"number of channels of the FPN and the head; 0 uses the pre-trained number, or {DEFAULT_CHANNELS} if none were pre-trained",
        minimum=0,
    )
    head_layers: int = flag(
        0,
        "Evaluation",
        "number of 3x3 convolutions in each tower of the head; 0 uses the pre-trained number, or "
        f"{DEFAULT_HEAD_LAYERS} if none were pre-trained",
        minimum=0,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dataset and self.labels:
            raise ConfigError("--dataset and --labels cannot be combined; remove one of them")
        if not (self.dataset or self.labels):
            raise ConfigError("images with boxes are missing; pass --dataset or --labels")
        check_used(
            self, not self.labels, ["train_split", "split", "data_dir"], f"--labels={self.labels}"
        )

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes of one's own labels; empty for those that the labels contain."""
        return names_in(self.classes)

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.source, *self.files_of_labels, self.dataset

    @property
    def evaluated(self) -> str:
        """What is scored, for headings."""
        return self.evaluation_labels or self.labels or f"{self.dataset}, {self.split}"


main = command(
    Settings, "detection", __doc__, library="pixpro_tf.evaluation.object_detection.evaluation"
)


if __name__ == "__main__":
    sys.exit(main())
