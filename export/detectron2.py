"""A backbone as the pickle that Detectron2 loads.

    python -m export.detectron2 --run=runs/mine --output=mine.pkl

In Detectron2's configuration: `MODEL.WEIGHTS` is the file, `MODEL.RESNETS.STRIDE_IN_1X1: False`, `INPUT.FORMAT: "RGB"`,
`MODEL.PIXEL_MEAN: [123.675, 116.280, 103.530]`, `MODEL.PIXEL_STD: [58.395, 57.120, 57.375]`, and the norms trained
(`MODEL.RESNETS.NORM: "SyncBN"`, `MODEL.BACKBONE.FREEZE_AT: 0`), as the paper fine-tunes.
"""

import pickle
import re
import sys

import numpy as np

from export.flags import make_parser
from pixpro_tf.commands import atomic_output, exit_code_of, quiet_tensorflow, refuse_existing
from pixpro_tf.errors import RunError

# Depths that Detectron2 builds; it has neither the deep stem of the "d" variants nor a ResNet of ten layers.
BACKBONES = (
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnet50w2",
    "resnext101_32x8d",
    "resnext152_32x8d",
)


def to_detectron2(state_dict: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A backbone's weights under Detectron2's names.

    Args:
        state_dict: by PyTorch's names (`layer1.0.conv1.weight`), in its layouts.

    Returns:
        By names like `res2.0.conv1.weight` and `stem.conv1.norm.running_mean`, in the same layouts.
    """
    return {_detectron2_name(name): array for name, array in state_dict.items()}


def _detectron2_name(name: str) -> str:
    if not name.startswith("layer"):
        name = f"stem.{name}"
    name = re.sub(r"^layer(\d)", lambda match: f"res{int(match[1]) + 1}", name)
    name = re.sub(r"\bbn(\d)\b", r"conv\1.norm", name)
    return name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")


def export(run: str, output: str, *, network: str = "online", overwrite: bool = False) -> list[str]:
    """Writes the pickle.

    Args:
        run: folder of a run, or of imported weights.
        output: file to write.
        network: "online" or "target".
        overwrite: replace a file that is there already.

    Returns:
        The names written.

    Raises:
        UserError: if there is nothing to export, Detectron2 has no such network or would misread it, or the file cannot be written.
    """
    refuse_existing("output", output, overwrite)
    from pixpro_tf import trained
    from pixpro_tf.interop.torch import names

    config = trained.read_run_config(run)
    if config.backbone not in BACKBONES:
        raise RunError(
            f"Detectron2 builds no {config.backbone}; pre-train with --backbone of {', '.join(BACKBONES)}"
        )
    if config.backbone_layout != "torchvision":
        raise RunError(
            f"{run} has the layout {config.backbone_layout}, which Detectron2 would misread; "
            "pre-train with --backbone_layout=torchvision"
        )
    backbone, _ = trained.load_backbone(run, network)
    model = to_detectron2(names.state_dict(backbone))
    with atomic_output(output, overwrite) as path, open(path, "wb") as file:
        pickle.dump(
            {"model": model, "__author__": "pixpro_tf", "matching_heuristics": True},
            file,
            protocol=4,
        )
    return list(model)


def main(arguments: list[str]) -> int:
    """Runs a command line; returns the exit code and prints every user's mistake as one line."""
    return exit_code_of(lambda: _run(arguments))


def _run(arguments: list[str]) -> None:
    parser = make_parser("detectron2", __doc__, "file to write, as backbone.pkl")
    flags = parser.parse_args(arguments)
    quiet_tensorflow()
    written = export(flags.run, flags.output, network=flags.network, overwrite=flags.overwrite)
    print(f"{len(written)} arrays written to {flags.output}")
    print(
        'In Detectron2: MODEL.RESNETS.STRIDE_IN_1X1: False, INPUT.FORMAT: "RGB", '
        "MODEL.PIXEL_MEAN: [123.675, 116.28, 103.53], MODEL.PIXEL_STD: [58.395, 57.12, 57.375]"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
