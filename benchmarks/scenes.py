"""What training with labels, and a linear layer on random weights, reach on the dataset `scenes`.

    python -m benchmarks.scenes --data_dir=/tmp/scenes

Both end in a linear layer on c5, whose logits are stretched to the mask, and are scored by mIoU over
all pixels of the split. With labels, the backbone is trained too, on random crops of the split
`train`; random weights are probed as `pixpro_tf.evaluation.dense` probes any backbone.
"""

import json
import sys

from pixpro_tf.cli.commands import (
    Parser,
    atomic_output,
    exit_code_of,
    quiet_tensorflow,
    refuse_existing,
)
from pixpro_tf.data.scenes.renderer import CLASS_NAMES
from pixpro_tf.errors import ConfigError


def table(results: dict[str, tuple]) -> str:
    """The scores as the command prints them."""
    scores = [score for score, _ in results.values()]
    rows = [
        ("IoU, %", list(results)),
        *(
            (name, [f"{100 * score.class_iou[index]:.1f}" for score in scores])
            for index, name in enumerate(CLASS_NAMES)
        ),
        ("mean", [f"{100 * score.mean_iou:.1f}" for score in scores]),
        ("seconds", [f"{seconds:.0f}" for _, seconds in results.values()]),
    ]
    return "\n".join(
        name.ljust(16) + "".join(f"{cell:>16}" for cell in cells) for name, cells in rows
    )


def _run(arguments: list[str]) -> None:
    parser = Parser(prog="python -m benchmarks.scenes", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dataset", default="scenes/128", help="one of the scenes")
    parser.add_argument("--data_dir", default="data", help="of TFDS")
    parser.add_argument("--split", default="validation", choices=["validation", "test"])
    parser.add_argument("--backbone", default="resnet10", help="architecture")
    parser.add_argument("--output_stride", type=int, default=16, choices=[8, 16, 32])
    parser.add_argument("--steps", type=int, default=600, help="of training with labels")
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--crop_size", type=int, default=96, help="side of its random crops")
    parser.add_argument("--rate", type=float, default=1e-3, help="of Adam")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", help="file to write the results to")
    flags = parser.parse_args(arguments)
    for name in ("steps", "batch_size", "crop_size"):
        if getattr(flags, name) < 1:
            raise ConfigError(f"--{name}={getattr(flags, name)} must be at least 1")
    if flags.json:
        refuse_existing("json", flags.json, overwrite=True)
    quiet_tensorflow()
    from benchmarks.supervised import measure

    results = measure(flags)
    print(table(results))
    if flags.json:
        figures = {
            name: {"mean_iou": score.mean_iou, "iou": score.class_iou.tolist()}
            for name, (score, _) in results.items()
        }
        with atomic_output(flags.json, overwrite=True) as path, open(path, "w") as file:
            json.dump({"flags": vars(flags), "results": figures}, file, indent=2)


if __name__ == "__main__":
    sys.exit(exit_code_of(lambda: _run(sys.argv[1:])))
