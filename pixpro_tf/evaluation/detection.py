"""Evaluates a backbone on object detection: fine-tunes a small anchor-free detector and computes COCO's average precision.

python -m pixpro_tf.evaluation.detection --from=runs/mine --dataset=scenes/128 --data_dir=data
"""

import dataclasses
import sys

from pixpro_tf.config.flag import flag, required
from pixpro_tf.evaluation import settings
from pixpro_tf.evaluation.settings import command

# Defaults of a detector whose backbone comes without a pre-trained FPN and head.
DEFAULT_CHANNELS, DEFAULT_HEAD_LAYERS = 64, 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(settings.Settings):
    """Settings of the detection evaluation; raises `ConfigError` if a value is invalid."""

    dataset: str = required(
        "Data",
        "dataset with boxes: scenes/128, scenes/256, or a TFDS name; all images must have the same size",
    )
    train_split: str = flag("train", "Data", "split to train on")
    split: str = flag("validation", "Data", "split to evaluate on")
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


main = command(
    Settings, "detection", __doc__, library="pixpro_tf.evaluation.object_detection.evaluation"
)


if __name__ == "__main__":
    sys.exit(main())
