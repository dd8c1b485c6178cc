"""Export of a backbone as a state dict with the names of torchvision and timm; PyTorch is required for `.pth` files only."""

import re

import numpy as np

from pixpro_tf.backbones.architectures import ARCHITECTURES, Architecture
from pixpro_tf.backbones.resnet import ResNet
from pixpro_tf.cli.outputs import atomic_output, check_output
from pixpro_tf.data.views.channels import RGB
from pixpro_tf.export.sources import restore_for
from pixpro_tf.interop.torch import files
from pixpro_tf.pretrained import safetensors_files
from pixpro_tf.pretrained.torch_names import state_dict

_SAFETENSORS = ".safetensors"
_OF_TORCHVISION = {
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext101_32x8d",
}
# timm has the networks of torchvision, and these; it numbers the layers of a stem of three convolutions, where the authors nest them.
_OF_TIMM = {"resnet18d", "resnet34d", "resnet50d", "resnet101d", "resnet152d"}
_TIMM_STEM = {"0.0": "0", "0.1": "1", "1.0": "3", "1.1": "4", "2": "6"}


def export(
    source: str,
    output: str,
    *,
    network: str | None = None,
    allow_unfinished: bool = False,
    overwrite: bool = False,
) -> tuple[list[str], str]:
    """Writes the weights of a backbone, without a classifier.

    A `.safetensors` file also contains how the images are scaled and normalised, in its metadata.

    Args:
        source: run, imported weights, SavedModel or published weights; see `trained_weights.open_weights`.
        output: path of the file to write; PyTorch's own format unless it ends in `.safetensors`.
        network: "online" or "target"; None exports the online network of a run, or the only one of other sources.
        allow_unfinished: whether to accept a run that has not completed all its steps.
        overwrite: whether to replace an existing file.

    Returns:
        Lines of Python that load the file, of which only those for libraries that have the architecture; and the images that the network
        takes, e.g. "RGB in [0, 1], minus (0.485, 0.456, 0.406), divided by (0.229, 0.224, 0.225)".

    Raises:
        UserError: if the source does not contain a backbone that PyTorch's libraries build in the same way, or the file cannot be written.

    Source: the state dicts of torchvision 0.28 and timm 1.0.
    """
    check_output(source, output, overwrite)
    if not output.endswith(_SAFETENSORS):
        files.require_torch()
    backbone, _, _ = restore_for(
        "torchvision",
        source,
        network,
        allow_unfinished,
        architectures=tuple(ARCHITECTURES),
        layout="torchvision",
        any_channels=True,
    )
    weights = state_dict_of_timm(state_dict(backbone), ARCHITECTURES[backbone.architecture])
    with atomic_output(output, overwrite) as path:
        if output.endswith(_SAFETENSORS):
            safetensors_files.write(path, weights, backbone.channels)
        else:
            files.write(path, weights)
    return _lines_that_load(backbone, output), backbone.channels.preparation


def state_dict_of_timm(
    weights: dict[str, np.ndarray], architecture: Architecture
) -> dict[str, np.ndarray]:
    """Returns weights with timm's names, and the counts of batches that a strict `load_state_dict` requires.

    Args:
        weights: weights of a backbone by the authors' names.
        architecture: its architecture.
    """
    found = {}
    for name, array in weights.items():
        stem = re.match(r"conv1\.(\d\.\d|\d)\.", name) if architecture.deep else None
        renamed = f"conv1.{_TIMM_STEM[stem[1]]}.{name[stem.end() :]}" if stem else name
        found[renamed] = np.ascontiguousarray(array)
        if renamed.endswith(".running_mean"):
            # PyTorch uses the count only without a momentum, which these networks have.
            counter = renamed.removesuffix("running_mean") + "num_batches_tracked"
            found[counter] = np.array(0, np.int64)
    return found


def _lines_that_load(backbone: ResNet, output: str) -> list[str]:
    architecture, count = backbone.architecture, backbone.channels.count
    read = f'state = torch.load("{output}", weights_only=True)'
    if output.endswith(_SAFETENSORS):
        read = f'state = safetensors.torch.load_file("{output}")'
    lines = []
    if architecture in _OF_TORCHVISION and count == RGB.count:
        lines.append(f"torchvision.models.{architecture}().load_state_dict(state, strict=False)")
    if architecture in _OF_TORCHVISION | _OF_TIMM:
        channels = "" if count == RGB.count else f", in_chans={count}"
        lines.append(
            f'timm.create_model("{architecture}", num_classes=0{channels}).load_state_dict(state)'
        )
    return [read, *lines] if lines else []
