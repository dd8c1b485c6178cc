"""Model card of an exported backbone: its architecture, training data and recipe, and the checksum of its weights."""

import dataclasses
import hashlib
import json
import os
import platform
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

import pixpro_tf
from pixpro_tf.backbones.architectures import ARCHITECTURES
from pixpro_tf.config import Config
from pixpro_tf.data.views.channels import RGB, Channels
from pixpro_tf.errors import DAMAGED_JSON, RunError
from pixpro_tf.layers.layouts import LAYOUTS
from pixpro_tf.storage import origins

FILE_NAME = "model_card.json"
# Entries that code reads from a card; the others are for people.
_REQUIRED = {
    "backbone": {"architecture", "layout", "output_stride"},
    "network": None,
    "heads": None,
    "training": {"step", "total_steps"},
    "weights": {"sha256"},
}

# Files of a SavedModel that have no checksums of their own, unlike its variables.
_CHECKED = ("saved_model.pb", "fingerprint.pb")

# Keys of a head's configuration that a card contains.
_DESCRIBED = (
    "levels",
    "channels",
    "layout",
    "head_layers",
    "hidden_channels",
    "out_channels",
    "num_layers",
    "final_norm",
    "shared",
    "ppm_layers",
    "gamma",
    "propagates",
)
# Keys that are omitted where they have these values, so that cards written before the keys existed still compare equal.
_SINCE_FIRST_CARDS = {"final_norm": False, "propagates": True}


def weights_checksum(variables: Sequence[tf.Variable]) -> str:
    """Computes the SHA-256 checksum of the concatenated bytes of variables.

    Args:
        variables: variables in the order of the SavedModel's `variables`, so that the checksum can be computed without this project.
    """
    digest = hashlib.sha256()
    for variable in variables:
        digest.update(variable.numpy().tobytes())
    return digest.hexdigest()


def compose(
    *,
    backbone: tf.keras.Model,
    network: str,
    heads: dict[str, tf.keras.layers.Layer],
    variables: list[tf.Variable],
    config: Config,
    description: dict[str, Any],
    step: int | None,
    total_steps: int | None,
    metrics: dict[str, Any] | None,
    licence: str,
) -> dict[str, Any]:
    """Returns the model card of a run's backbone.

    Args:
        backbone: exported `ResNet`.
        network: "online" or "target".
        heads: heads that are exported with the backbone, by name.
        variables: variables of the SavedModel, in its order.
        config: configuration of the run.
        description: content of the run's `config.json`.
        step, total_steps: number of completed steps, and of steps of the whole run; None for imported weights.
        metrics: last metrics that the run logged; None if it logged none.
        licence: licence of the weights, in the words of their owner.
    """
    imported = origins.imported_from(description)
    # Our flags do not describe how another program trained.
    recipe = (
        None
        if imported
        else {
            field.name: getattr(config, field.name)
            for field in dataclasses.fields(config)
            if field.metadata["fixed"]
        }
    )
    data = (
        None
        if imported
        else {
            "dataset": config.dataset,
            "split": config.split,
            "images": description["num_images"],
            "view_size": config.image_size,
        }
    )
    return {
        "backbone": {
            "architecture": backbone.architecture,
            "layout": backbone.layout,
            "output_stride": backbone.output_stride,
            "channels": dataclasses.asdict(backbone.channels),
            "parameters": sum(int(tf.size(v)) for v in backbone.trainable_variables),
        },
        "network": network,
        "heads": {name: describe_head(head) for name, head in heads.items()},
        "input": describe_input(backbone.channels),
        "outputs": _outputs(backbone, heads),
        "objectives": None if imported else origins.objectives_of(config, description),
        "recipe": recipe,
        "data": data,
        "training": {"step": step, "total_steps": total_steps},
        "imported": imported,
        "metrics": metrics,
        "versions": {
            "trained_with": description.get("versions"),
            "trained_at_commit": description.get("git_commit"),
            "exported_with": {
                "pixpro_tf": pixpro_tf.__version__,
                "tensorflow": tf.__version__,
                "python": platform.python_version(),
            },
        },
        "licence": {"code": "MIT", "weights": licence},
        "weights": {
            "sha256": weights_checksum(variables),
            "of": "the little-endian float32 bytes of the SavedModel's `variables`, one after the other",
            "variables": len(variables),
        },
    }


def describe_input(channels: Channels) -> str:
    """Returns a description of the images that an exported backbone takes."""
    shape = f"[batch, height, width, {channels.count}], any size; normalised inside"
    if channels.is_photograph:
        return f"float32 RGB in [0, 1], {shape}"
    return f"float32 in [0, 1], stored values scaled by low and high of the channels, {shape}"


def channels_of(card: dict[str, Any]) -> Channels:
    """Returns the channels of the images that a card describes; cards written before other channels were supported lack them."""
    channels = card["backbone"].get("channels")
    return RGB if channels is None else Channels(**channels)


def describe_head(head: tf.keras.layers.Layer) -> dict[str, Any]:
    """Returns the description of a head; heads with equal descriptions have weights of the same shapes."""
    config = head.get_config()
    config |= config.get("settings", {})
    described = {
        key: config[key]
        for key in _DESCRIBED
        if key in config and config[key] != _SINCE_FIRST_CARDS.get(key)
    }
    # A list, as in JSON, so that the description equals that of a card read from a file.
    described["levels"] = list(described["levels"])
    return described | {"parameters": sum(int(tf.size(variable)) for variable in head.variables)}


def _outputs(
    backbone: tf.keras.Model, heads: dict[str, tf.keras.layers.Layer]
) -> dict[str, dict[str, int]]:
    shapes = backbone.compute_output_shape([None, None, None, backbone.channels.count])
    outputs = {
        name: {"stride": backbone.stride_of(name), "channels": shape[-1]}
        for name, shape in shapes.items()
    }
    outputs["pooled"] = {"channels": outputs["c5"]["channels"]}
    if "neck" in heads:
        for level in heads["neck"].levels:
            outputs[level] = {"stride": 2 ** int(level[1:]), "channels": heads["neck"].fpn.channels}
            if heads["neck"].dense_head is not None:
                outputs[f"head_{level}"] = outputs[level]
    if "projector" in heads:
        levels = heads["projector"].levels
        for level in levels:
            projected = {
                "stride": outputs[level]["stride"],
                "channels": heads["projector"].settings.out_channels,
            }
            outputs[output_name("projected", level, levels)] = projected
            if "propagation" in heads:
                outputs[output_name("propagated", level, levels)] = projected
    return outputs


def output_name(what: str, level: str, levels: Sequence[str]) -> str:
    """Returns the name of a head's output for a level: `projected`, or `projected_p3` if the head has several levels."""
    return what if len(levels) == 1 else f"{what}_{level}"


def write(card: dict[str, Any], folder: str) -> None:
    """Writes a card to the folder of its SavedModel, with checksums by which `read` recognises damage."""
    card = card | {
        "files": {name: _sha256_of_file(os.path.join(folder, name)) for name in _CHECKED}
    }
    with open(os.path.join(folder, FILE_NAME), "w") as file:
        json.dump(card | {"sha256": _sha256_of_card(card)}, file, indent=2)
        file.write("\n")


def read(folder: str) -> dict[str, Any] | None:
    """Returns the card of a SavedModel, or None if it has none because another program wrote the SavedModel.

    Args:
        folder: folder of the SavedModel, on any file system that TensorFlow reads.

    Raises:
        RunError: if the card, or the program of the SavedModel, is damaged.
    """
    path = os.path.join(folder, FILE_NAME)
    if not tf.io.gfile.exists(path):
        return None
    try:
        with tf.io.gfile.GFile(path) as file:
            card = json.load(file)
        checksum = card.pop("sha256", None)
        missing = [
            name
            for name, keys in _REQUIRED.items()
            if name not in card or (keys and not keys <= card[name].keys())
        ]
        backbone = card.get("backbone", {})
        known = (
            backbone.get("architecture") in ARCHITECTURES
            and backbone.get("layout") in LAYOUTS
            and backbone.get("output_stride") in (8, 16, 32)
        )
        # Cards of older versions have no checksums.
        files = card.get("files", {}).items()
        damaged = [name for name, found in files if _sha256_of_file(f"{folder}/{name}") != found]
    except (*DAMAGED_JSON, tf.errors.OpError) as error:
        raise RunError(f"{path} is damaged; export the backbone again") from error
    if missing:
        raise RunError(
            f"{path} is damaged: it lacks {', '.join(missing)}; export the backbone again"
        )
    if not known or (checksum is not None and checksum != _sha256_of_card(card)):
        raise RunError(f"{path} is damaged or was changed; export the backbone again")
    if damaged:
        raise RunError(f"{folder}/{damaged[0]} is damaged; export the backbone again")
    return card


def _sha256_of_card(card: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(card, sort_keys=True).encode()).hexdigest()


def _sha256_of_file(path: str) -> str | None:
    """Returns the checksum of a file; None if it does not exist."""
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except tf.errors.NotFoundError:
        return None
