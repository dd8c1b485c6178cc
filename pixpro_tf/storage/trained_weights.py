"""Trained networks from run folders, exported SavedModels and published weights, for exports and evaluations."""

import contextlib
import dataclasses
import os
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from pixpro_tf import pretrained
from pixpro_tf.backbones import resnet
from pixpro_tf.backbones.fpn import Neck
from pixpro_tf.build import neck_arguments
from pixpro_tf.cli.commands import called
from pixpro_tf.data.views.channels import RGB, Channels
from pixpro_tf.errors import RunError, listed
from pixpro_tf.ops.precision import building_in
from pixpro_tf.pretrained import torch_names
from pixpro_tf.storage import hub_handles, model_card, origins
from pixpro_tf.storage.checkpoint_files import find_checkpoint
from pixpro_tf.storage.checkpoints import restore_part
from pixpro_tf.storage.runs import Progress, Run, is_run


@dataclasses.dataclass(frozen=True)
class Weights:
    """Trained backbone, on disk or as arrays.

    Attributes:
        checkpoint: path of the checkpoint; for arrays, the handle of the weights.
        part: name of the backbone in the checkpoint, a path of attributes from its root; the neck's path differs in the last one.
        architecture, layout, output_stride, channels: see `resnet.ResNet`.
        neck: configuration of the `Neck` that was trained with the backbone; None if there is none.
        zero_init_residual: how the weights began, see `resnet.ResNet`; for random weights of the same kind.
        origin: where the weights come from, in words; see `origins`.
        arrays: weights by PyTorch's names, see `torch_names`; None for a checkpoint.
    """

    checkpoint: str
    part: str
    architecture: str
    layout: str
    output_stride: int
    channels: Channels = RGB
    neck: dict[str, Any] | None = None
    zero_init_residual: bool = True
    origin: str = ""
    arrays: dict[str, np.ndarray] | None = None

    def load_backbone(self, backbone: resnet.ResNet) -> None:
        """Loads the weights into a built backbone of the same architecture; raises `RunError` if they cannot be read."""
        if self.arrays is None:
            restore_part(self.checkpoint, self.part, backbone)
            return
        if others := torch_names.layers_beyond(backbone, self.arrays):
            raise RunError(
                f"{self.checkpoint} contains {listed(others, 3)}, which a {self.architecture} does not have; use weights of a plain ResNet"
            )
        try:
            loaded = torch_names.load_state_dict(backbone, self.arrays)
        except ValueError as error:
            raise RunError(
                f"{self.checkpoint} does not fit a {self.architecture}: {error}"
            ) from error
        if broken := torch_names.not_finite(self.arrays, loaded):
            raise RunError(
                f"{self.checkpoint} cannot be used: values are not finite: {listed(broken, 3)}"
            )


def restore_backbone(
    run_or_handle: str, network: str | None = None, allow_unfinished: bool = True
) -> resnet.ResNet:
    """Returns a trained backbone, in float32; see `open_weights` for the arguments and errors."""
    with open_weights(run_or_handle, network, allow_unfinished) as weights:
        return restore(weights)


def restore(weights: Weights) -> resnet.ResNet:
    """Returns the backbone of weights on disk, in float32; raises `RunError` if they cannot be read."""
    # The precision of the process is that of a model which uses the backbone.
    with building_in("float32"):
        backbone = resnet.build(
            weights.architecture, weights.layout, weights.output_stride, channels=weights.channels
        )
    weights.load_backbone(backbone)
    return backbone


def restore_with_neck(weights: Weights) -> tuple[resnet.ResNet, Neck | None]:
    """Returns the backbone and its neck (None if there is none), in float32; raises `RunError` as `restore` does."""
    backbone = restore(weights)
    if weights.neck is None:
        return backbone, None
    with building_in("float32"):
        neck = Neck(**weights.neck)
        neck(backbone(tf.keras.Input([None, None, backbone.channels.count])))
    restore_part(weights.checkpoint, re.sub(r"backbone$", "neck", weights.part), neck)
    return backbone, neck


@contextlib.contextmanager
def open_weights(
    run_or_handle: str, network: str | None = None, allow_unfinished: bool = True
) -> Iterator[Weights]:
    """Finds a trained backbone.

    Args:
        run_or_handle: folder of a run or of imported weights, a TF Hub-style handle of a SavedModel that `export.savedmodel` wrote, or
            published weights; see `pretrained.read`.
        network: "online" or "target"; None selects the online network of a run, and the only network of a SavedModel.
        allow_unfinished: whether to accept a run that has not completed all its steps.

    Yields:
        The location of the weights, valid for the duration of the block.

    Raises:
        RunError: if the weights are not found, their layout is unknown, or the run is unfinished.
    """
    if pretrained.is_pretrained(run_or_handle):
        if network is not None:
            raise RunError(f"{run_or_handle} contains a single network; omit --network")
        yield weights_of_pretrained(run_or_handle)
        return
    if is_run(run_or_handle) or find_checkpoint(run_or_handle) is not None:
        yield _weights_of_run(run_or_handle, network or "online", allow_unfinished)
        return
    with hub_handles.local_copy(run_or_handle) as folder:
        card = model_card.read(folder)
        if card is None:
            export = called("python -m export.savedmodel", "pixpro-export savedmodel")
            raise RunError(
                f"{run_or_handle} is not a run folder or a SavedModel with a {model_card.FILE_NAME}, which contains the "
                f"layout; export one with `{export}`"
            )
        if network is not None and network != card["network"]:
            raise RunError(
                f"{run_or_handle} contains the {card['network']} network, not the {network} network; omit --network"
            )
        if not allow_unfinished:
            Progress(**card["training"]).require_finished(run_or_handle)
        yield weights_of_saved_model(folder, card)


def weights_of_pretrained(handle: str) -> Weights:
    """Returns published weights; see `pretrained.read` for the handle and errors."""
    found = pretrained.read(handle)
    return Weights(
        handle,
        "",
        found.architecture,
        found.layout,
        32,
        found.channels,
        origin=origins.of_published(handle),
        arrays=found.arrays,
    )


def weights_of_saved_model(folder: str, card: dict) -> Weights:
    """Returns the location of a SavedModel's weights, with the details from its card."""
    backbone = card["backbone"]
    return Weights(
        os.path.join(folder, "variables", "variables"),
        "backbone",
        backbone["architecture"],
        backbone["layout"],
        backbone["output_stride"],
        model_card.channels_of(card),
        _neck_of_card(card),
        # Imported weights have no recipe.
        (card.get("recipe") or {}).get("zero_init_residual", True),
        origins.of_card(card),
    )


def _neck_of_card(card: dict) -> dict[str, Any] | None:
    """Returns the configuration of the neck that a SavedModel contains beside its backbone; None if it has none."""
    neck = card["heads"].get("neck")
    return neck and {key: neck[key] for key in ("levels", "channels", "layout", "head_layers")}


def _weights_of_run(run: str, network: str, allow_unfinished: bool) -> Weights:
    opened = Run.open(run)
    if not allow_unfinished:
        opened.progress.require_finished(run)
    config = opened.config
    return Weights(
        opened.checkpoint,
        f"{network}/backbone",
        config.backbone,
        config.backbone_layout,
        config.output_stride,
        config.image_channels,
        neck_arguments(config),
        config.zero_init_residual,
        origins.of_run(config, opened.description),
    )
