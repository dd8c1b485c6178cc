"""Object detection from a backbone: a small anchor-free detector on it, everything fine-tuned, scored by COCO's average precision.

python -m pixpro_tf.evaluation.detection --from=runs/mine --dataset=scenes/128 --data_dir=data
"""

import dataclasses
import sys

from pixpro_tf.config.flag import flag, required
from pixpro_tf.evaluation import settings
from pixpro_tf.evaluation.settings import command

# Of a detector whose backbone comes without an FPN and a head.
DEFAULT_CHANNELS, DEFAULT_HEAD_LAYERS = 64, 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(settings.Settings):
    """How a detector is trained and scored; raises `ConfigError` for values that cannot be."""

    dataset: str = required(
        "Data",
        "scenes/128, scenes/256, or a TFDS name with objects whose images are all of one size",
    )
    train_split: str = flag("train", "Data", "on which the detector is trained")
    split: str = flag("validation", "Data", "on which the scores are taken")
    epochs: int = flag(12, "Evaluation", "passes over the training split", minimum=1)
    rate: float = flag(1e-3, "Evaluation", "learning rate of Adam, after a warm-up", minimum=1e-12)
    channels: int = flag(
        0,
        "Evaluation",
        f"of the FPN and the head; 0 is as they were pre-trained, or else {DEFAULT_CHANNELS}",
        minimum=0,
    )
    head_layers: int = flag(
        0,
        "Evaluation",
        f"3x3 convolutions of each tower of the head; 0 is as they were pre-trained, or else {DEFAULT_HEAD_LAYERS}",
        minimum=0,
    )


main = command(
    Settings, "detection", __doc__, library="pixpro_tf.evaluation.object_detection.evaluation"
)


if __name__ == "__main__":
    sys.exit(main())
