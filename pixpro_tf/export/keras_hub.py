"""Export of a backbone as a preset of KerasHub, for Keras 3 on TensorFlow, JAX and PyTorch."""

import datetime
import io
import json
import os
from typing import Any

import h5py
import numpy as np

from pixpro_tf.backbones.architectures import ARCHITECTURES, Architecture
from pixpro_tf.backbones.resnet import ResNet
from pixpro_tf.cli.outputs import atomic_output, check_output, write_texts
from pixpro_tf.data.views.channels import Channels
from pixpro_tf.export.sources import restore_for
from pixpro_tf.pretrained.keras_names import names_in_order, torch_name
from pixpro_tf.pretrained.normalisation import Normalisation
from pixpro_tf.pretrained.torch_names import from_torch_layout, state_dict

# Versions whose files these are; newer ones read them, too.
_VERSIONS = {"keras_version": "3.12.0", "keras_hub_version": "0.22.0"}
_NORM = ("weight", "bias", "running_mean", "running_var")

# Architectures that KerasHub builds. Its small "d" variants have a convolution in the first shortcut, which this project's lack.
SUPPORTED = tuple(
    name
    for name, each in ARCHITECTURES.items()
    if each.width == 1 and each.groups == 1 and (each.bottleneck or not each.deep)
)

_README = """\
# A {architecture} as a preset of KerasHub

The backbone is a {architecture} {origin}.

```python
import keras_hub

backbone = keras_hub.models.ResNetBackbone.from_preset("{name}")
converter = keras_hub.layers.ImageConverter.from_preset("{name}")
maps = backbone(converter(images))  # {images}
```

The converter normalises images as in pre-training. `backbone.pyramid_outputs` has the maps P2 to P5. Batch norm keeps the momentum of
KerasHub, 0.9.
"""


def export(
    source: str,
    output: str,
    *,
    network: str | None = None,
    allow_unfinished: bool = False,
    overwrite: bool = False,
) -> None:
    """Writes a folder that `keras_hub.models.ResNetBackbone.from_preset` loads; KerasHub is not required.

    Args:
        source: folder of a run or of imported weights, handle of a SavedModel, or published weights.
        output: folder to create.
        network: "online" or "target"; None exports the online network of a run, or the only one of other sources.
        allow_unfinished: whether to accept a run that has not completed all its steps.
        overwrite: whether to replace an existing folder.

    Raises:
        UserError: if the source does not contain a backbone, KerasHub does not build the same network, or the folder cannot be written.

    Source: the presets of KerasHub (https://keras.io/keras_hub/) and the weight files of Keras 3.
    """
    check_output(source, output, overwrite)
    backbone, _, origin = restore_for(
        "KerasHub",
        source,
        network,
        allow_unfinished,
        architectures=SUPPORTED,
        layout="torchvision",
        any_channels=True,
    )
    architecture = ARCHITECTURES[backbone.architecture]
    normalisation = Normalisation.of(backbone.channels)
    name = os.path.basename(os.path.abspath(output))
    with atomic_output(output, overwrite) as folder:
        os.makedirs(folder)
        # Python's own error says what hinders a write, HDF5's does not.
        with open(os.path.join(folder, "model.weights.h5"), "wb") as file:
            file.write(_weights(backbone, architecture))
        objects = {
            "config.json": _backbone_config(architecture, backbone),
            "image_converter.json": _serialized(
                "resnet_image_converter",
                "ResNetImageConverter",
                {
                    "name": "res_net_image_converter",
                    "scale": list(normalisation.scale),
                    "offset": list(normalisation.offset),
                },
            ),
            "metadata.json": _VERSIONS
            | {
                "parameter_count": backbone.count_params(),
                "date_saved": datetime.datetime.now().strftime("%Y-%m-%d@%H:%M:%S"),
            },
        }
        texts = {file: json.dumps(content, indent=4) + "\n" for file, content in objects.items()}
        texts["README.md"] = _README.format(
            architecture=backbone.architecture,
            origin=origin,
            name=name,
            images=_describe(backbone.channels),
        )
        write_texts(folder, texts)


def _describe(channels: Channels) -> str:
    if channels.is_photograph:
        return "RGB in 0..255"
    return f"255 * {channels.scaling}, limited to 0..255"


def _backbone_config(architecture: Architecture, backbone: ResNet) -> dict[str, Any]:
    kind = "bottleneck_block" if architecture.bottleneck else "basic_block"
    return _serialized(
        "resnet_backbone",
        "ResNetBackbone",
        {
            "name": backbone.name,
            "trainable": True,
            "input_conv_filters": [32, 32, 64] if architecture.deep else [64],
            "input_conv_kernel_sizes": [3, 3, 3] if architecture.deep else [7],
            "stackwise_num_filters": [64, 128, 256, 512],
            "stackwise_num_blocks": list(architecture.blocks),
            "stackwise_num_strides": [1, 2, 2, 2],
            "block_type": f"{kind}_vd" if architecture.deep else kind,
            "use_pre_activation": False,
            "image_shape": [None, None, backbone.channels.count],
        },
    )


def _serialized(module: str, name: str, config: dict[str, Any]) -> dict[str, Any]:
    """Returns the description of an object of KerasHub's ResNets, as Keras 3 serialises it."""
    return {
        "module": f"keras_hub.src.models.resnet.{module}",
        "class_name": name,
        "config": config,
        "registered_name": f"keras_hub>{name}",
    }


def _weights(backbone: ResNet, architecture: Architecture) -> bytes:
    """Returns the content of a weight file of Keras 3."""
    weights = {name: from_torch_layout(array) for name, array in state_dict(backbone).items()}
    names = names_in_order(
        architecture.blocks, architecture.bottleneck, architecture.deep, applications=False
    )
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for kind, layer in (("conv", "conv2d"), ("bn", "batch_normalization")):
            for number, name in enumerate(names):
                ours = torch_name(f"{name}_{kind}", architecture.deep)
                parts = ("weight",) if kind == "conv" else _NORM
                group = file.create_group(f"layers/{layer}{f'_{number}' if number else ''}/vars")
                group.attrs["name"] = f"{name}_{kind}"
                for place, part in enumerate(parts):
                    group[str(place)] = np.asarray(weights[f"{ours}.{part}"], np.float32)
    return content.getvalue()
