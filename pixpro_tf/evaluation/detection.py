"""Object detection from a backbone: a small anchor-free detector on it, everything fine-tuned, scored by COCO's average precision.

python -m pixpro_tf.evaluation.detection --from=runs/mine --dataset=scenes/128 --data_dir=data
"""

import dataclasses
import sys

from pixpro_tf.evaluation import flags
from pixpro_tf.evaluation.flags import command, flag

# Of a detector whose backbone comes without an FPN and a head.
DEFAULT_CHANNELS, DEFAULT_HEAD_LAYERS = 64, 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(flags.Settings):
    """How a detector is trained and scored; raises `ConfigError` for values that cannot be."""

    dataset: str = flag(
        "scenes/128, scenes/256, or a TFDS name with objects whose images are all of one size"
    )
    train_split: str = flag("on which the detector is trained", "train")
    split: str = flag("on which the scores are taken", "validation")
    epochs: int = flag("passes over the training split", 12, minimum=1)
    rate: float = flag("learning rate of Adam, after a warm-up", 1e-3, minimum=1e-12)
    channels: int = flag(
        f"of the FPN and the head; 0 is as they were pre-trained, or else {DEFAULT_CHANNELS}",
        0,
        minimum=0,
    )
    head_layers: int = flag(
        f"3x3 convolutions of each tower of the head; 0 is as they were pre-trained, or else {DEFAULT_HEAD_LAYERS}",
        0,
        minimum=0,
    )


main = command(
    Settings,
    "pixpro_tf.evaluation.detection",
    __doc__ or "",
    library="pixpro_tf.evaluation.object_detection.evaluation",
)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
