"""What a file of weights is, told by its names and shapes: whose, which backbone, which heads."""

import dataclasses
import re

import numpy as np

from pixpro_tf.backbones.architectures import ARCHITECTURES, Architecture
from pixpro_tf.errors import RunError

Weights = dict[str, np.ndarray]

# Kind of file and prefix of its backbone, looked for in this order. The target network of a pair has its own prefix.
_KINDS = (
    ("PixPro", "encoder.", "encoder_k."),
    ("MoCo", "encoder_q.", "encoder_k."),
    ("MMLab", "backbone.", None),
    ("ResNet", "", None),
)
_STEMS = ("conv1.weight", "conv1.0.0.weight")


@dataclasses.dataclass(frozen=True)
class Recognised:
    """What was found.

    Attributes:
        kind: "PixPro", "MoCo", "MMLab" or "ResNet".
        backbone: name in the family.
        prefix: of the backbone's names.
        target_prefix: of the momentum network's backbone; None where there is one network.
        has_heads: whether it is a PixPro model with its heads.
        model_flags: what the heads' shapes say, as flags of the configuration.
    """

    kind: str
    backbone: str
    prefix: str
    target_prefix: str | None
    has_heads: bool
    model_flags: dict[str, int | float]


def recognise(weights: Weights) -> Recognised:
    """Tells what the weights are.

    Args:
        weights: by name, without the prefix `module.`.

    Raises:
        RunError: if there is no ResNet of the family in them.
    """
    found = [entry for entry in _KINDS if any(entry[1] + stem in weights for stem in _STEMS)]
    if not found:
        shown = ", ".join(list(weights)[:3])
        raise RunError(
            f"there is no ResNet in it that is known by its names ({shown}, ...); "
            "known are PixPro, MoCo, MMLab and torchvision"
        )
    kind, prefix, target_prefix = found[0]
    if not any(target_prefix and name.startswith(target_prefix) for name in weights):
        target_prefix = None
    has_heads = kind == "PixPro" and "projector.linear1.weight" in weights
    return Recognised(
        kind,
        architecture_of(below(weights, prefix)),
        prefix,
        target_prefix,
        has_heads,
        _heads(weights) if has_heads else {},
    )


def architecture_of(weights: Weights) -> str:
    """Name of the family's member that has these blocks and widths.

    Args:
        weights: of a backbone, by a ResNet's names.

    Raises:
        RunError: if there is no such member.
    """
    indices = [re.match(r"layer([1-4])\.(\d+)\.", name) for name in weights]
    found = {(int(match[1]), int(match[2])) for match in indices if match}
    one, two, three, four = (sum(stage == number for stage, _ in found) for number in range(1, 5))
    blocks = (one, two, three, four)
    bottleneck = "layer1.0.conv3.weight" in weights
    stem = weights.get("bn1.weight", np.empty(0)).shape[0]
    shape = weights.get("layer1.0.conv2.weight", np.empty((0, 0))).shape
    if not stem or not shape[1]:
        raise RunError("its ResNet lacks bn1.weight or layer1.0.conv2.weight")
    width, groups = stem / 64, shape[0] // shape[1]
    spec = Architecture(
        blocks,
        bottleneck,
        width,
        groups,
        group_width=64 * shape[0] // (stem * groups) if bottleneck else 64,
        deep="conv1.0.0.weight" in weights,
    )
    for name, member in ARCHITECTURES.items():
        if member == spec:
            return name
    raise RunError(
        f"its ResNet is none of the family: blocks {blocks}, {'bottleneck' if bottleneck else 'basic'}, "
        f"{stem} channels after the stem, {groups} groups of width {shape[1]}; the family is {', '.join(ARCHITECTURES)}"
    )


def _heads(weights: Weights) -> dict[str, int | float]:
    hidden = weights["projector.linear1.weight"].shape[0]
    out = weights.get("projector.linear2.weight", np.empty(0)).shape[0]
    layers = sum(
        bool(re.fullmatch(r"value_transform\.(linear\d\.)?weight", name)) for name in weights
    )
    return {
        "projector_hidden": hidden,
        "projector_dim": out,
        "ppm_layers": layers,
        "instance_weight": 1.0 if "predictor.linear1.weight" in weights else 0.0,
    }


def below(weights: Weights, prefix: str) -> Weights:
    """The weights whose names begin with a prefix, without it."""
    return {
        name.removeprefix(prefix): array
        for name, array in weights.items()
        if name.startswith(prefix)
    }
