"""Initialisation from existing weights: a run, a checkpoint, a SavedModel, a TF Hub handle or published weights."""

import collections
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import trackable_object_graph_pb2

from pixpro_tf import pretrained
from pixpro_tf.backbones.resnet import ResNet, build
from pixpro_tf.data.views.channels import RGB
from pixpro_tf.errors import RunError, first_line
from pixpro_tf.pixpro import PixPro
from pixpro_tf.storage import checkpoint_files, hub_handles, model_card, stems, trained_weights
from pixpro_tf.storage.checkpoint_files import UNREADABLE
from pixpro_tf.storage.checkpoints import restore_part
from pixpro_tf.storage.runs import Run, is_run
from pixpro_tf.storage.saved_model import heads_of
from pixpro_tf.storage.trained_weights import Weights

# Key under which a checkpoint describes its objects.
_OBJECTS = "_CHECKPOINTABLE_OBJECT_GRAPH"
# Side of the images on which layouts are compared, in pixels.
_SIDE = 224


def initialize_from(model: PixPro, handle: str, other_layout: bool = False) -> str:
    """Loads weights into the online network and copies them to the target network.

    The backbone, and the heads whose shapes match, are loaded from a run folder, a checkpoint, or a SavedModel that this project exported.
    Only the backbone is loaded from published weights, and from any other SavedModel, by the names of its variables.

    Args:
        model: built model.
        handle: path, TF Hub handle, or published weights (see `pretrained.read`).
        other_layout: whether to accept weights of another layout, with which features differ until they have been trained further.

    Returns:
        One line that lists what was loaded, and how far features differ in another layout.

    Raises:
        RunError: if the handle does not exist, cannot be read, or contains a different backbone or layout.
    """
    try:
        if pretrained.is_pretrained(handle):
            found, loaded = _load_pretrained(model, handle, other_layout)
        elif checkpoint := checkpoint_files.find_checkpoint(handle):
            found, loaded = _load_run(model, checkpoint, other_layout)
        else:
            found, loaded = _load_saved_model(model, handle, other_layout)
    except RunError as error:
        raise RunError(f"--init_from: {error}") from error
    model.start_target_from_online()
    line = f"Initialised from {handle}: {loaded}"
    if found != model.online.backbone.layout:
        difference = layout_difference(model.online.backbone, found)
        line += f"; the weights were trained in the layout {found}, so c5 differs by {difference:.0%} until they are trained further"
    return line


def layout_difference(backbone: ResNet, layout: str) -> float:
    """Returns by how much the last map of a backbone differs in another layout, relative to the map there, in the root mean square.

    The images are noise with the spectrum of photographs.
    """
    generator = np.random.default_rng(0)
    channels = backbone.channels.count
    images = tf.zeros([2, _SIDE, _SIDE, channels])
    for octave in range(int(np.log2(_SIDE))):
        coarse = generator.normal(size=[2, 2**octave, 2**octave, channels]) / 2**octave
        images += tf.cast(tf.image.resize(coarse, [_SIDE, _SIDE], "bicubic"), tf.float32)
    values = [variable.numpy() for variable in backbone.variables]
    maps = []
    for each in (backbone.layout, layout):
        network = build(
            backbone.architecture, each, backbone.output_stride, channels=backbone.channels
        )
        for variable, value in zip(network.variables, values, strict=True):
            variable.assign(value)
        maps.append(network(images)["c5"])
    return float(tf.norm(maps[0] - maps[1]) / tf.norm(maps[1]))


def _load_pretrained(model: PixPro, handle: str, other_layout: bool) -> tuple[str, str]:
    """Returns the layout of the weights, and what was loaded."""
    weights = trained_weights.weights_of_pretrained(handle)
    backbone = model.online.backbone
    if weights.architecture != backbone.architecture:
        raise _another_backbone(
            model, f"the {weights.architecture} in {handle}", weights.architecture
        )
    _check_layout(model, handle, weights.layout, other_layout)
    return weights.layout, _load_backbone(model, weights)


def _load_run(model: PixPro, checkpoint: str, other_layout: bool) -> tuple[str, str]:
    try:
        stored = tf.train.list_variables(checkpoint)
    except UNREADABLE as error:
        raise RunError(f"{checkpoint} cannot be read: {first_line(error)}") from error
    backbone = model.online.backbone
    layout, channels = backbone.layout, backbone.channels
    # A checkpoint outside a run folder records neither its layout nor the channels.
    recorded = is_run(checkpoint)
    if recorded:
        config = Run.open(checkpoint).config
        layout, channels = config.backbone_layout, config.image_channels
    weights = Weights(
        checkpoint,
        "online/backbone",
        backbone.architecture,
        layout,
        backbone.output_stride,
        channels,
    )
    if not _same_shapes(stored, weights.part, _network_of(weights, backbone)):
        raise _another_backbone(model, f"the backbone in {checkpoint}")
    _check_layout(model, checkpoint, layout, other_layout)
    parts = {
        label: (path, part)
        for label, (path, part) in _heads_of_run(model).items()
        if _same_shapes(stored, path, part)
    }
    loaded = _load(model, weights, parts)
    return layout, loaded if recorded else loaded + _unrecorded(model)


def _unrecorded(model: PixPro) -> str:
    """Returns what is assumed about weights without a record of their channels, for the line of `initialize_from`."""
    if model.online.backbone.channels == RGB:
        return ""
    return "; the range, mean and std of its images are not recorded and assumed to be those of this run"


def _heads_of_run(model: PixPro) -> dict[str, tuple[str, tf.keras.layers.Layer]]:
    """Returns the parts to load beside the backbone: path in the checkpoint and part, keyed by a label for the user."""
    heads = {"neck": ("online/neck", model.online.neck)}
    for objective in model.objectives:
        name = objective.name
        heads[f"{name} projector"] = (
            f"online/projectors/{name}",
            model.online.projectors[name],
        )
        heads[f"{name} predictor"] = (name, objective)
    return {
        label: head for label, head in heads.items() if head[1] is not None and head[1].variables
    }


def _load_saved_model(model: PixPro, handle: str, other_layout: bool) -> tuple[str, str]:
    with hub_handles.local_copy(handle) as folder:
        card = model_card.read(folder)
        if card is None:
            loaded = _load_by_names(model, handle, folder)
            return model.online.backbone.layout, loaded + _unrecorded(model)
        weights = trained_weights.weights_of_saved_model(folder, card)
        if weights.architecture != model.online.backbone.architecture:
            raise _another_backbone(
                model, f"the {weights.architecture} in {handle}", weights.architecture
            )
        _check_layout(model, handle, weights.layout, other_layout)
        parts: dict[str, tuple[str, tf.keras.layers.Layer]] = {
            name: (name, head)
            for name, head in heads_of(model, "online").items()
            if card["heads"].get(name) == model_card.describe_head(head)
        }
        return weights.layout, _load(model, weights, parts)


def _load(
    model: PixPro, weights: Weights, parts: dict[str, tuple[str, tf.keras.layers.Layer]]
) -> str:
    """Loads the backbone and other parts from the same checkpoint, and returns their labels."""
    backbone = _load_backbone(model, weights)
    for path, part in parts.values():
        restore_part(weights.checkpoint, path, part)
    return ", ".join([backbone, *parts])


def _load_backbone(model: PixPro, weights: Weights) -> str:
    """Loads the backbone, converts its first convolution to the channels of the model, and returns a label."""
    backbone = model.online.backbone
    network = _network_of(weights, backbone)
    weights.load_backbone(network)
    found, wanted = weights.channels, backbone.channels
    if network is not backbone:
        for variable, value in zip(backbone.variables, network.variables, strict=True):
            if variable.shape == value.shape:
                variable.assign(value)
    stems.convert(backbone, found, wanted, source=network)
    done = stems.description(found, wanted)
    return f"backbone (first convolution {done})" if done else "backbone"


def _network_of(weights: Weights, backbone: ResNet) -> ResNet:
    """Returns the backbone, or another network of the same kind if the weights are for images with another number of channels."""
    if weights.channels.count == backbone.channels.count:
        return backbone
    return build(
        backbone.architecture, weights.layout, backbone.output_stride, channels=weights.channels
    )


def _another_backbone(model: PixPro, what: str, architecture: str = "") -> RunError:
    advice = (
        f"use --backbone={architecture}"
        if architecture
        else "use the --backbone that it was trained with"
    )
    return RunError(f"{what} is not a {model.online.backbone.architecture}; {advice}")


def _check_layout(model: PixPro, name: str, layout: str, other_layout: bool) -> None:
    """Raises `RunError` if the layout differs and must not: weights have the same shapes in all layouts, but features differ."""
    wanted = model.online.backbone.layout
    if layout != wanted and not other_layout:
        raise RunError(
            f"the backbone in {name} has the layout {layout} and would compute different features with {wanted}; "
            f"use --backbone_layout={layout}, or --init_from_other_layout to train the weights further in the other layout"
        )


def _same_shapes(
    stored: Sequence[tuple[str, list[int]]], prefix: str, part: tf.keras.layers.Layer
) -> bool:
    there = sorted(
        list(shape)
        for key, shape in stored
        if key.startswith(f"{prefix}/") and "OPTIMIZER_SLOT" not in key
    )
    return there == sorted(variable.shape.as_list() for variable in part.variables)


def _load_by_names(model: PixPro, handle: str, folder: str) -> str:
    backbone = model.online.backbone
    try:
        reader = tf.train.load_checkpoint(os.path.join(folder, "variables", "variables"))
        keys = _keys_by_name(reader)
        fitting = []
        for variable in backbone.variables:
            name = _name_in_layer(variable.name)
            found = keys.get(name, [])
            if len(found) > 1:
                raise RunError(
                    f"{handle} contains several variables with the same name, so it is more than a backbone; export the backbone alone"
                )
            value = reader.get_tensor(found[0]) if found else None
            if value is None or value.shape != tuple(variable.shape):
                what = (
                    "does not contain"
                    if value is None
                    else f"has a different shape ({value.shape}) for"
                )
                raise RunError(
                    f"{handle} {what} {name}, so it is not a {backbone.architecture}; "
                    "use the --backbone that it was trained with"
                )
            fitting.append((variable, value))
    except UNREADABLE as error:
        raise RunError(
            f"{handle} is not a run folder, a checkpoint or a SavedModel that can be read: {first_line(error)}"
        ) from error
    for variable, value in fitting:
        variable.assign(value)
    return "backbone of a SavedModel"


def _keys_by_name(reader: Any) -> dict[str, list[str]]:
    """Returns the keys of a checkpoint's variables by their names in their layers.

    Loading a SavedModel would run its program; its variables can be read without that.
    """
    keys: dict[str, list[str]] = collections.defaultdict(list)
    if not reader.has_tensor(_OBJECTS):
        # TensorFlow 1 wrote checkpoints whose keys are the names.
        for name in reader.get_variable_to_shape_map():
            keys[_name_in_layer(name)].append(name)
        return keys
    objects = trackable_object_graph_pb2.TrackableObjectGraph.FromString(
        reader.get_tensor(_OBJECTS)
    )
    for node in objects.nodes:
        for attribute in node.attributes:
            keys[_name_in_layer(attribute.full_name)].append(attribute.checkpoint_key)
    return keys


def _name_in_layer(name: str) -> str:
    """Returns the name of a variable without its outer scopes, e.g. `layer1.0.conv1/kernel`."""
    return "/".join(name.split(":")[0].split("/")[-2:])
