"""Export of a backbone as the pickle that Detectron2 loads.

The matching Detectron2 settings train and synchronise batch norm, as the paper does for fine-tuning.
"""

import pickle
import re

import numpy as np

from pixpro_tf.backbones.fpn import Neck
from pixpro_tf.cli.outputs import atomic_output, check_output
from pixpro_tf.data.views.channels import RGB, Channels
from pixpro_tf.errors import ConfigError, RunError
from pixpro_tf.export.sources import restore_for
from pixpro_tf.pretrained import torch_names
from pixpro_tf.pretrained.torch_names import to_torch_layout

# Architectures that Detectron2 builds; it has neither the deep stem of the "d" variants nor a ResNet with ten layers.
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

# Architectures with basic blocks, which Detectron2 does not dilate.
BASIC_BLOCKS = ("resnet18", "resnet34")


def to_detectron2(state_dict: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Renames the weights of a backbone to Detectron2's names.

    Args:
        state_dict: weights by their PyTorch names (`layer1.0.conv1.weight`), in PyTorch's layouts.

    Returns:
        Weights by names such as `res2.0.conv1.weight` and `stem.conv1.norm.running_mean`, in the same layouts.
    """
    return {_detectron2_name(name): array for name, array in state_dict.items()}


def _detectron2_name(name: str) -> str:
    if not name.startswith("layer"):
        name = f"stem.{name}"
    name = re.sub(r"^layer(\d)", lambda match: f"res{int(match[1]) + 1}", name)
    name = re.sub(r"\bbn(\d)\b", r"conv\1.norm", name)
    return name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")


def neck_to_detectron2(neck: Neck) -> dict[str, np.ndarray]:
    """Returns the weights of a neck by Detectron2's names; the dense head becomes both towers of RetinaNet.

    Args:
        neck: built `Neck` of the layout torchvision.
    """
    layers = {f"fpn_lateral{level[1:]}": layer for level, layer in neck.fpn.laterals.items()}
    for level, layer in neck.fpn.outputs.items():
        layers[f"fpn_output{level[1:]}" if level < "p6" else f"top_block.{level}"] = layer
    if neck.dense_head is not None:
        for index, layer in enumerate(neck.dense_head.convolutions):
            # A ReLU follows each convolution of a tower and has a number too.
            for tower in ("cls_subnet", "bbox_subnet"):
                layers[f"head.{tower}.{2 * index}"] = layer
    arrays = {}
    for name, layer in layers.items():
        arrays[f"{name}.weight"] = to_torch_layout(layer.kernel.numpy())
        arrays[f"{name}.bias"] = layer.bias.numpy()
    return arrays


def neck_settings(neck: Neck) -> list[str]:
    """Returns Detectron2's settings of an FPN that matches a neck, in addition to the settings of the backbone."""
    features = ", ".join(f"res{level[1:]}" for level in sorted(neck.fpn.laterals))
    retinanet = "p6" in neck.levels or neck.dense_head is not None
    lines = [
        f"MODEL.BACKBONE.NAME: build_{'retinanet_' if retinanet else ''}resnet_fpn_backbone",
        f"MODEL.FPN.IN_FEATURES: [{features}]",
        f"MODEL.FPN.OUT_CHANNELS: {neck.fpn.channels}",
        "MODEL.FPN.NORM: ''",
    ]
    if neck.dense_head is not None:
        lines.append(f"MODEL.RETINANET.NUM_CONVS: {neck.dense_head.num_layers}")
    return lines


def settings(architecture: str, output_stride: int, channels: Channels = RGB) -> list[str]:
    """Returns Detectron2's settings that match a backbone.

    Args:
        architecture: one of `BACKBONES`.
        output_stride: 32, or 16 for an architecture with bottleneck blocks.
        channels: channels of the images, RGB in 8 bits with any mean and deviation.

    Returns:
        Lines of a configuration, e.g. `MODEL.RESNETS.DEPTH: 50`.
    """
    depth = re.search(r"(18|34|50|101|152)", architecture)
    assert depth is not None
    resnets: dict[str, object] = {"DEPTH": depth[1], "STRIDE_IN_1X1": False, "NORM": "SyncBN"}
    if architecture in BASIC_BLOCKS:
        resnets["RES2_OUT_CHANNELS"] = 64
    if architecture.startswith("resnext"):
        resnets |= {"NUM_GROUPS": 32, "WIDTH_PER_GROUP": 8}
    if architecture.endswith("w2"):
        resnets |= {"STEM_OUT_CHANNELS": 128, "RES2_OUT_CHANNELS": 512, "WIDTH_PER_GROUP": 128}
    if output_stride == 16:
        resnets["RES5_DILATION"] = 2
    lines = [f"MODEL.RESNETS.{name}: {value}" for name, value in resnets.items()]
    return [
        *lines,
        "MODEL.BACKBONE.FREEZE_AT: 0",
        "INPUT.FORMAT: RGB",
        f"MODEL.PIXEL_MEAN: {[round(255 * mean, 6) for mean in channels.mean]}",
        f"MODEL.PIXEL_STD: {[round(255 * std, 6) for std in channels.std]}",
    ]


def export(
    source: str,
    output: str,
    *,
    network: str | None = None,
    allow_unfinished: bool = False,
    overwrite: bool = False,
) -> list[str]:
    """Writes the pickle, including an FPN and dense head that were trained with the backbone.

    Args:
        source: folder of a run or of imported weights, or handle of a SavedModel.
        output: path of the file to write.
        network: "online" or "target"; None exports the online network of a run, or the network of a SavedModel.
        allow_unfinished: whether to accept a run that has not completed all its steps.
        overwrite: whether to replace an existing file.

    Returns:
        Detectron2's settings that match the file.

    Raises:
        UserError: if the source does not contain a backbone, Detectron2 does not build the same network, or the file cannot be written.
    """
    if not output.endswith(".pkl"):
        raise ConfigError(
            f"--output={output} must end in .pkl, by which Detectron2 recognises its pickles"
        )
    check_output(source, output, overwrite)
    backbone, neck, _ = restore_for(
        "Detectron2",
        source,
        network,
        allow_unfinished,
        architectures=BACKBONES,
        layout="torchvision",
        output_strides=(32, 16),
    )
    if backbone.architecture in BASIC_BLOCKS and backbone.output_stride != 32:
        raise RunError(
            f"{source} is a {backbone.architecture} with --output_stride={backbone.output_stride}, which Detectron2 does not support; "
            "pre-train with --output_stride=32"
        )
    model = to_detectron2(torch_names.state_dict(backbone))
    if neck is not None:
        model |= neck_to_detectron2(neck)
    with atomic_output(output, overwrite) as path, open(path, "wb") as file:
        pickle.dump(
            {"model": model, "__author__": "pixpro_tf", "matching_heuristics": True},
            file,
            protocol=4,
        )
    lines = settings(backbone.architecture, backbone.output_stride, backbone.channels)
    return lines if neck is None else [*lines, *neck_settings(neck)]
