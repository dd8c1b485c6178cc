"""Recognition of weights by their names and shapes: kind of file, backbone and heads."""

import dataclasses
import re

import numpy as np

from pixpro_tf.backbones.architectures import ARCHITECTURES, Architecture
from pixpro_tf.errors import RunError, listed

Weights = dict[str, np.ndarray]

# Kinds of files, in the order in which they are tried, with the prefix of the backbone and, if there is one, of the target network.
_KINDS = (
    ("PixPro", "encoder.", "encoder_k."),
    ("MoCo", "encoder_q.", "encoder_k."),
    ("MMLab", "backbone.", None),
    ("ResNet", "", None),
)
_STEMS = ("conv1.weight", "conv1.0.0.weight")


@dataclasses.dataclass(frozen=True)
class Recognised:
    """Result of the recognition.

    Attributes:
        kind: "PixPro", "MoCo", "MMLab" or "ResNet".
        backbone: name of the architecture.
        prefix: prefix of the backbone's names.
        target_prefix: prefix of the target network's backbone; None if the weights contain a single network.
        has_heads: whether the weights are a PixPro model with its heads.
        model_flags: flags of the configuration that follow from the shapes of the heads.
    """

    kind: str
    backbone: str
    prefix: str
    target_prefix: str | None
    has_heads: bool
    model_flags: dict[str, int | float]


def with_known_names(weights: Weights) -> Weights:
    """Returns weights without the prefix `module.`, and with the authors' names for a stem of three convolutions."""
    return {_stem_name(name.removeprefix("module.")): array for name, array in weights.items()}


def _stem_name(name: str) -> str:
    """Returns the authors' name for a layer of a stem of three convolutions, which timm and MMLab's tools number differently."""
    match = re.fullmatch(r"((?:backbone\.)?)(?:conv1|stem)\.(\d)\.(\w+)", name)
    if not match:
        return name
    prefix, number, part = match[1], int(match[2]), match[3]
    names = {0: "conv1.0.0", 1: "conv1.0.1", 3: "conv1.1.0", 4: "conv1.1.1", 6: "conv1.2", 7: "bn1"}
    return f"{prefix}{names.get(number, f'conv1.{number}')}.{part}"


def recognise(weights: Weights) -> Recognised:
    """Recognises the kind of weights, the backbone and the heads.

    Args:
        weights: weights by name, without the prefix `module.`.

    Raises:
        RunError: if the weights do not contain a ResNet of the family; the message continues the name of the file.
    """
    found = [entry for entry in _KINDS if any(entry[1] + stem in weights for stem in _STEMS)]
    if not found:
        shown = listed(list(weights), 3) or "no weights"
        raise RunError(
            f"does not contain the names of a known ResNet (it contains {shown}); "
            "use a file of PixPro, MoCo, MMLab or torchvision"
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
    """Returns the name of the architecture with these blocks and widths.

    Args:
        weights: weights of a backbone, by the names of a ResNet.

    Raises:
        RunError: if the family does not contain the architecture; the message continues the name of the file.
    """
    indices = [re.match(r"layer([1-4])\.(\d+)\.", name) for name in weights]
    found = {(int(match[1]), int(match[2])) for match in indices if match}
    one, two, three, four = (sum(stage == number for stage, _ in found) for number in range(1, 5))
    blocks = (one, two, three, four)
    bottleneck = "layer1.0.conv3.weight" in weights
    stem = _width_of(weights, "bn1.weight")
    shape = weights.get("layer1.0.conv2.weight", np.empty(0)).shape
    if not stem or len(shape) != 4 or not 0 < shape[1] <= shape[0]:
        raise RunError(
            "contains a ResNet whose bn1.weight or layer1.0.conv2.weight is missing or has an unexpected shape"
        )
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
        f"contains an unknown ResNet: blocks {blocks}, {'bottleneck' if bottleneck else 'basic'}, "
        f"{stem} channels after the stem, {groups} groups of width {shape[1]}; use one of {', '.join(ARCHITECTURES)}"
    )


def _heads(weights: Weights) -> dict[str, int | float]:
    layers = sum(
        bool(re.fullmatch(r"value_transform\.(linear\d\.)?weight", name)) for name in weights
    )
    return {
        "projector_hidden": _width_of(weights, "projector.linear1.weight"),
        "projector_dim": _width_of(weights, "projector.linear2.weight"),
        "ppm_layers": layers,
        "instance_weight": 1.0 if "predictor.linear1.weight" in weights else 0.0,
    }


def _width_of(weights: Weights, name: str) -> int:
    """Returns the number of outputs of a layer by the shape of its weight; 0 if the weight is missing or a scalar."""
    return next(iter(np.shape(weights.get(name, 0))), 0)


def below(weights: Weights, prefix: str) -> Weights:
    """Returns the weights whose names start with a prefix, with the prefix removed."""
    return {
        name.removeprefix(prefix): array
        for name, array in weights.items()
        if name.startswith(prefix)
    }
