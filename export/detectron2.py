"""A backbone as the pickle that Detectron2 loads.

    python -m export.detectron2 --from=runs/mine --output=mine.pkl

In Detectron2's configuration: `MODEL.WEIGHTS` is the file, `MODEL.RESNETS.STRIDE_IN_1X1: False`, `INPUT.FORMAT: "RGB"`,
`MODEL.PIXEL_MEAN: [123.675, 116.280, 103.530]`, `MODEL.PIXEL_STD: [58.395, 57.120, 57.375]`, and the norms trained
(`MODEL.RESNETS.NORM: "SyncBN"`, `MODEL.BACKBONE.FREEZE_AT: 0`), as the paper fine-tunes. A backbone of `--output_stride=16`
needs `MODEL.RESNETS.RES5_DILATION: 2`.
"""

import pickle
import re
import sys

import numpy as np

from export.flags import make_parser
from export.sources import restore_for
from pixpro_tf.commands import atomic_output, exit_code_of, quiet_tensorflow, refuse_existing

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


def export(
    source: str,
    output: str,
    *,
    network: str | None = None,
    allow_unfinished: bool = False,
    overwrite: bool = False,
) -> list[str]:
    """Writes the pickle.

    Args:
        source: folder of a run or of imported weights, or handle of a SavedModel.
        output: file to write.
        network: "online" or "target"; None is the online one of a run.
        allow_unfinished: whether a run is taken that has not made all its steps.
        overwrite: replace a file that is there already.

    Returns:
        The names written.

    Raises:
        UserError: if there is nothing to export, Detectron2 has no such network or would misread it, or the file cannot be written.
    """
    refuse_existing("output", output, overwrite)
    from pixpro_tf.interop.torch import names

    backbone = restore_for(
        "Detectron2",
        source,
        network,
        allow_unfinished,
        architectures=BACKBONES,
        layout="torchvision",
        output_strides=(32, 16),
    )
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
    flags = vars(parser.parse_args(arguments))
    quiet_tensorflow()
    written = export(**flags)
    print(f"{len(written)} arrays written to {flags['output']}")
    print(
        'In Detectron2: MODEL.RESNETS.STRIDE_IN_1X1: False, INPUT.FORMAT: "RGB", '
        "MODEL.PIXEL_MEAN: [123.675, 116.28, 103.53], MODEL.PIXEL_STD: [58.395, 57.12, 57.375]; "
        "after --output_stride=16 also MODEL.RESNETS.RES5_DILATION: 2"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
