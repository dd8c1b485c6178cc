"""ResNets of Keras Applications and KerasHub, recognised by the names of their layers or by the order of their arrays."""

import re

import numpy as np

from pixpro_tf.backbones.architectures import ARCHITECTURES
from pixpro_tf.errors import RunError, listed
from pixpro_tf.pretrained.keras_files import Layers
from pixpro_tf.pretrained.normalisation import (
    CAFFE,
    EPSILON,
    IMAGENET,
    Normalisation,
    stem_for_imagenet,
)
from pixpro_tf.pretrained.torch_names import to_torch_layout

# Epsilon of batch norm in Keras Applications.
_APPLICATIONS_EPSILON = 1.001e-5
# Names of blocks: stage, block and part, where part 0 is the shortcut. Keras Applications counts stages from 2 and blocks from 1.
_APPLICATIONS = re.compile(r"conv(\d)_block(\d+)_(\d)_(conv|bn)")
_HUB = re.compile(r"stack(\d)_block(\d+)_(\d)_(conv|bn)")
_STEM = re.compile(r"conv(\d)_(conv|bn)")
# Layers whose names a file does not contain are called by their class and number; the first has no number.
_NUMBERED = re.compile(r"(conv2d|batch_normalization)(?:_(\d+))?")


def is_applications(layers: Layers) -> bool:
    """Returns whether the layers are those of Keras Applications rather than of KerasHub, by their names.

    Without names, by the biases of the convolutions, which only Keras Applications has.
    """
    for pattern, answer in ((_APPLICATIONS, True), (_HUB, False)):
        if any(pattern.fullmatch(name) for name in layers):
            return answer
    return any(arrays[0].ndim == 4 and len(arrays) == 2 for arrays in layers.values())


def torch_name(name: str, deep: bool) -> str | None:
    """Returns PyTorch's name of a layer; None for layers of other kinds."""
    for pattern, first_stage, first_block in ((_APPLICATIONS, 2, 1), (_HUB, 0, 0)):
        if match := pattern.fullmatch(name):
            stage, block, part = (int(group) for group in match.groups()[:3])
            prefix = f"layer{stage - first_stage + 1}.{block - first_block}."
            kind = match[4]
            if part:
                return f"{prefix}{'conv' if kind == 'conv' else 'bn'}{part}"
            # The shortcut of a "d" variant starts with a pooling.
            return f"{prefix}downsample.{int(kind == 'bn') + int(deep)}"
    if match := _STEM.fullmatch(name):
        number, kind = int(match[1]), match[2]
        if not deep:
            return {"conv": "conv1", "bn": "bn1"}[kind] if number == 1 else None
        if number == 3:
            return {"conv": "conv1.2", "bn": "bn1"}[kind]
        return f"conv1.{number - 1}.{int(kind == 'bn')}"
    return None


def names_in_order(
    blocks: tuple[int, ...], bottleneck: bool, deep: bool, applications: bool
) -> list[str]:
    """Returns the names of the convolutions, without `_conv`, in the order in which Keras numbers them.

    Keras orders layers by their distance from the output: the convolution of a shortcut is as far as the last one of its block, and
    comes before it.
    """
    names = [f"conv{number}" for number in range(1, 4 if deep else 2)]
    for stage, count in enumerate(blocks):
        for block in range(count):
            name = (
                f"conv{stage + 2}_block{block + 1}"
                if applications
                else f"stack{stage}_block{block}"
            )
            parts = [1, 2, 3] if bottleneck else [1, 2]
            if block == 0 and (bottleneck or stage > 0):
                parts.insert(-1, 0)
            names += [f"{name}_{part}" for part in parts]
    return names


def to_torch(layers: Layers, normalisation: Normalisation | None = None) -> dict[str, np.ndarray]:
    """Returns weights of a backbone by PyTorch's names and in its layouts, for images that this project has normalised.

    Biases of convolutions are subtracted from the running mean of the batch norm after them.

    Args:
        layers: arrays of the layers, by name.
        normalisation: normalisation of the images with which the network was trained; None for that of Keras Applications or KerasHub.

    Raises:
        RunError: if the layers are not those of a ResNet of version 1; the message continues the name of the file.
    """
    applications = is_applications(layers)
    named = _named(layers, applications)
    if "post_bn" in named or any("preact" in name or "pre_activation" in name for name in named):
        raise RunError(
            "contains a ResNet of version 2, whose batch norms are before its convolutions; use version 1"
        )
    deep = "conv2_bn" in named
    weights: dict[str, np.ndarray] = {}
    for name, arrays in named.items():
        target = torch_name(name, deep)
        if target is None:
            continue
        if name.endswith("_conv"):
            weights[f"{target}.weight"] = arrays[0]
            continue
        gamma, beta, mean, variance = arrays
        convolution = named.get(f"{name.removesuffix('_bn')}_conv", [])
        if len(convolution) == 2:
            mean = mean - convolution[1]
        if applications:
            variance = variance + (_APPLICATIONS_EPSILON - EPSILON)
        values = {"weight": gamma, "bias": beta, "running_mean": mean, "running_var": variance}
        weights |= {f"{target}.{part}": value for part, value in values.items()}
    conv, norm = ("conv1.0.0", "conv1.0.1") if deep else ("conv1", "bn1")
    stem = [f"{conv}.weight", f"{norm}.running_mean", f"{norm}.running_var"]
    missing = [name for name in stem if name not in weights]
    if missing:
        shown = listed(list(layers), 3) or "no layers"
        raise RunError(
            f"does not contain a ResNet of Keras Applications or KerasHub (it contains {shown})"
        )
    # A kernel for a single channel would be repeated for the others.
    channels = weights[stem[0]].shape[2]
    if channels != 3:
        raise RunError(
            f"contains a ResNet whose first convolution takes {channels} instead of 3 channels; use one for RGB images"
        )
    given = normalisation or (CAFFE if applications else IMAGENET)
    if not given.is_near(IMAGENET):
        kernel, mean, variance = (weights[name] for name in stem)
        converted = stem_for_imagenet(kernel, mean, variance, given)
        weights |= dict(zip(stem, converted, strict=True))
    return {name: to_torch_layout(array) for name, array in weights.items()}


def _named(layers: Layers, applications: bool) -> Layers:
    """Returns the layers by their names, which follow from the order if the file contains numbers only."""
    of_kind: dict[str, dict[int, str]] = {"conv2d": {}, "batch_normalization": {}}
    for name in layers:
        match = _NUMBERED.fullmatch(name)
        if match is None:
            return layers
        of_kind[match[1]][int(match[2] or 0)] = name
    convolutions, norms = ([each[number] for number in sorted(each)] for each in of_kind.values())
    for architecture in ARCHITECTURES.values():
        if architecture.width != 1 or architecture.groups != 1:
            continue
        names = names_in_order(
            architecture.blocks, architecture.bottleneck, architecture.deep, applications
        )
        if len(names) == len(convolutions) == len(norms):
            found = {
                f"{name}_conv": layers[each] for name, each in zip(names, convolutions, strict=True)
            }
            return found | {
                f"{name}_bn": layers[each] for name, each in zip(names, norms, strict=True)
            }
    return layers
