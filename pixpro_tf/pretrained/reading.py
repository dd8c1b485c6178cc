"""Published weights by their handles: Keras Applications, KerasHub, Keras files and safetensors files."""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import tensorflow as tf

from pixpro_tf.data import limits
from pixpro_tf.data.views.channels import RGB, Channels
from pixpro_tf.errors import DAMAGED_JSON, RunError, first_line
from pixpro_tf.keras2 import LEGACY_KERAS_VARIABLE
from pixpro_tf.pretrained import downloads, keras_files, keras_names, recognition, safetensors_files
from pixpro_tf.pretrained.normalisation import Normalisation

APPLICATIONS = "keras:"
HUB = "keras_hub:"
_SAFETENSORS = ".safetensors"
# Files of a preset of KerasHub.
_HUB_WEIGHTS, _HUB_CONVERTER = "model.weights.h5", "image_converter.json"
_NETWORKS = ("ResNet50", "ResNet101", "ResNet152")
# Saves a preset without its classifier; a process of its own, because KerasHub needs Keras 3.
SAVE_PRESET = """
import sys
import keras_hub
preset, folder = sys.argv[1:]
keras_hub.models.ResNetBackbone.from_preset(preset).save_to_preset(folder)
try:
    keras_hub.layers.ImageConverter.from_preset(preset).save_to_preset(folder)
except Exception as error:
    print(f"{preset} has no image converter: {error}", file=sys.stderr)
"""
# KerasHub brings Keras 3, which replaces the Keras of older TensorFlow.
_WITHOUT_HUB = (
    "requires KerasHub; run `pip install keras-hub` on Python 3.12 or newer, or save the preset in another environment by "
    "`keras_hub.models.ResNetBackbone.from_preset(NAME).save_to_preset(FOLDER)` and pass keras_hub:FOLDER"
)


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """Weights of a published backbone.

    Attributes:
        architecture, layout: see `resnet.ResNet`.
        arrays: weights by PyTorch's names and in its layouts, for images that this project has normalised; see `torch_names`.
        channels: channels of the images, with which they are normalised.
    """

    architecture: str
    layout: str
    arrays: dict[str, np.ndarray]
    channels: Channels = RGB


def is_pretrained(handle: str) -> bool:
    """Returns whether a handle names weights that `read` reads, judging by its prefix or suffix."""
    return handle.startswith((APPLICATIONS, HUB)) or handle.endswith(
        (*keras_files.SUFFIXES, _SAFETENSORS)
    )


def read(handle: str) -> Pretrained:
    """Reads published weights.

    Args:
        handle: one of
            `keras:ResNet50` (or ResNet101, ResNet152): ImageNet weights of Keras Applications, which Keras downloads;
            `keras_hub:resnet_50_imagenet`: preset of KerasHub, or a folder of one, for which KerasHub need not be installed;
            a `.h5`, `.weights.h5` or `.keras` file of a network of either, with or without its classifier;
            a `.safetensors` file with the names of torchvision, timm or MMLab's tools, for RGB unless `export.torch` wrote its channels.

    Raises:
        RunError: if the weights cannot be downloaded or read, or are not those of a known ResNet.
    """
    try:
        if handle.startswith(APPLICATIONS):
            return _of_keras(_application(handle.removeprefix(APPLICATIONS)))
        if handle.startswith(HUB):
            return _of_preset(handle.removeprefix(HUB))
        _check_file(os.path.expanduser(handle))
        if handle.endswith(_SAFETENSORS):
            return _of_torch(*_safetensors(handle))
        return _of_keras(keras_files.read_layers(handle))
    except RunError as error:
        raise RunError(f"{handle} {error}") from error


def _check_file(path: str) -> None:
    if path.startswith(("http://", "https://")):
        raise RunError("cannot be read from the web; download the file and pass its path")
    try:
        found = tf.io.gfile.exists(path)
    except tf.errors.OpError as error:
        raise RunError(f"cannot be read: {first_line(error)}") from error
    if not found:
        raise RunError("is not an existing file")


def _application(name: str) -> keras_files.Layers:
    if name not in _NETWORKS:
        raise RunError(
            f"is not supported; use {APPLICATIONS} followed by one of {', '.join(_NETWORKS)}"
        )
    try:
        with downloads.limited(name):
            model = getattr(tf.keras.applications, name)(include_top=False, weights="imagenet")
    except Exception as error:
        # Downloads fail with different exceptions.
        raise RunError(
            f"cannot be loaded: {first_line(error)}; pass the .h5 file itself if this machine cannot download it"
        ) from error
    return {layer.name: layer.get_weights() for layer in model.layers if layer.weights}


def _of_preset(preset: str) -> Pretrained:
    """Reads a preset of KerasHub, or the folder of one."""
    folder = os.path.expanduser(preset)
    if os.path.isdir(folder):
        return _of_preset_folder(folder)
    if os.sep in preset and "://" not in preset:
        raise RunError("is not an existing folder")
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            key: value for key, value in os.environ.items() if key != LEGACY_KERAS_VARIABLE
        }
        minutes = limits.current().max_download_minutes
        try:
            done = subprocess.run(
                [sys.executable, "-c", SAVE_PRESET, preset, folder],
                env=environment,
                capture_output=True,
                text=True,
                timeout=60 * minutes,
            )
        except subprocess.TimeoutExpired:
            raise RunError(
                f"takes longer to download than --max_download_minutes={minutes} allows"
            ) from None
        if "No module named 'keras_hub'" in done.stderr:
            raise RunError(_WITHOUT_HUB)
        if done.returncode < 0:
            raise RunError(
                "cannot be loaded: the process that loads it was killed; check that there is enough memory"
            )
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise RunError(f"cannot be loaded: {lines[-1]}")
        return _of_preset_folder(folder)


def _of_preset_folder(folder: str) -> Pretrained:
    weights = os.path.join(folder, _HUB_WEIGHTS)
    if not os.path.isfile(weights):
        raise RunError(f"is not a preset of KerasHub: it has no {_HUB_WEIGHTS}")
    normalisation = None
    converter = os.path.join(folder, _HUB_CONVERTER)
    if os.path.isfile(converter):
        try:
            with open(converter) as file:
                config = json.load(file)["config"]
            normalisation = _normalisation(config.get("scale"), config.get("offset"))
        except (OSError, *DAMAGED_JSON) as error:
            raise RunError(
                f"contains a {_HUB_CONVERTER} that cannot be read: {first_line(error)}"
            ) from error
    return _of_keras(keras_files.read_layers(weights), normalisation)


def _normalisation(
    scale: float | list[float] | None, offset: float | list[float] | None
) -> Normalisation:
    """Returns the normalisation of an image converter, whose entries are numbers for all channels or lists."""
    scales = np.broadcast_to(1.0 if scale is None else scale, 3)
    offsets = np.broadcast_to(0.0 if offset is None else offset, 3)
    return Normalisation(tuple(map(float, scales)), tuple(map(float, offsets)))


def _of_keras(layers: keras_files.Layers, normalisation: Normalisation | None = None) -> Pretrained:
    try:
        weights = keras_names.to_torch(layers, normalisation)
    except (ValueError, IndexError) as error:
        raise RunError(
            f"contains layers whose shapes are not those of a known ResNet: {first_line(error)}"
        ) from error
    layout = "od_api" if keras_names.is_applications(layers) else "torchvision"
    return Pretrained(recognition.architecture_of(weights), layout, weights)


def _safetensors(path: str) -> tuple[dict[str, np.ndarray], Channels]:
    try:
        with tf.io.gfile.GFile(os.path.expanduser(path), "rb") as file:
            return safetensors_files.read(file.read())
    except tf.errors.OpError as error:
        raise RunError(f"cannot be read: {first_line(error)}") from error


def _of_torch(weights: dict[str, np.ndarray], channels: Channels) -> Pretrained:
    weights = recognition.with_known_names(weights)
    found = recognition.recognise(weights)
    arrays = recognition.below(weights, found.prefix)
    return Pretrained(found.backbone, "torchvision", arrays, channels)
