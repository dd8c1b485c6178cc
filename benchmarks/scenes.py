"""Scores training with labels, and a linear layer on random weights, on the dataset `scenes` or `composites`.

    python -m benchmarks.scenes --data_dir=/tmp/scenes
    python -m benchmarks.scenes --dataset=composites/128 --backbone=resnet18 --split=validation_new_things

Both end in a linear layer on c5, whose logits are resized to the mask, and are scored by mIoU over all pixels of the split. With labels,
the backbone is trained too, on random crops of the split `train`; random weights are evaluated like any other backbone by
`pixpro_tf.evaluation.dense`.
"""

import dataclasses
import json
import sys
from collections.abc import Sequence

from pixpro_tf.backbones.architectures import ARCHITECTURES
from pixpro_tf.cli.commands import Command
from pixpro_tf.cli.outputs import atomic_output, refuse_existing
from pixpro_tf.cli.settings import MAX_SEED, CheckedSettings
from pixpro_tf.config.flag import flag, refuse


def table(results: dict[str, tuple], class_names: Sequence[str]) -> str:
    """Formats the scores as the command prints them."""
    scores = [score for score, _ in results.values()]
    rows = [
        ("IoU, %", list(results)),
        *(
            (name, [f"{100 * score.class_iou[index]:.1f}" for score in scores])
            for index, name in enumerate(class_names)
        ),
        ("mean", [f"{100 * score.mean_iou:.1f}" for score in scores]),
        ("seconds", [f"{seconds:.0f}" for _, seconds in results.values()]),
    ]
    return "\n".join(
        name.ljust(16) + "".join(f"{cell:>16}" for cell in cells) for name, cells in rows
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(CheckedSettings):
    """Settings of training and scoring."""

    dataset: str = flag(
        "scenes/128", "Data", "dataset with masks, such as scenes/128 or composites/128"
    )
    data_dir: str = flag("data", "Data", "folder of prepared TFDS datasets", path=True)
    split: str = flag("validation", "Data", "split to score on, other than train")
    backbone: str = flag("resnet10", "Backbone", "architecture", choices=tuple(ARCHITECTURES))
    output_stride: int = flag(16, "Backbone", "output stride of c5", choices=(8, 16, 32))
    steps: int = flag(600, "Training with labels", "number of steps", minimum=1)
    batch_size: int = flag(16, "Training with labels", "images per step", minimum=1)
    crop_size: int = flag(
        96, "Training with labels", "side of random crops", unit="pixels", minimum=1
    )
    rate: float = flag(1e-3, "Training with labels", "learning rate of Adam")
    seed: int = flag(
        0, "Training with labels", "seed of everything random", minimum=0, maximum=MAX_SEED
    )
    json: str = flag("", "Output", "JSON file for the results; empty to write none")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.split.startswith("train"):
            refuse(self, "split", "is the split to train on; use another one")


def _run(flags: Settings) -> None:
    if flags.json:
        refuse_existing("json", flags.json, overwrite=True)
    from benchmarks.supervised import measure

    results, class_names = measure(flags)
    print(table(results, class_names))
    if flags.json:
        figures = {
            name: {"mean_iou": score.mean_iou, "iou": score.class_iou.tolist()}
            for name, (score, _) in results.items()
        }
        with atomic_output(flags.json, overwrite=True) as path, open(path, "w") as file:
            json.dump({"flags": vars(flags), "results": figures}, file, indent=2)


main = Command(Settings, __doc__, "python -m benchmarks.scenes", _run)

if __name__ == "__main__":
    sys.exit(main())
