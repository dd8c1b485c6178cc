"""A trained network from the folder of its run or from an exported SavedModel, as exports and evaluations take it."""

import contextlib
import dataclasses
import os
import re
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from pixpro_tf.backbones import resnet
from pixpro_tf.backbones.fpn import Neck
from pixpro_tf.build import neck_arguments
from pixpro_tf.errors import RunError
from pixpro_tf.storage import hub_handles, model_card
from pixpro_tf.storage.checkpoint_files import find_checkpoint
from pixpro_tf.storage.checkpoints import restore_part
from pixpro_tf.storage.runs import Progress, Run, is_run


@dataclasses.dataclass(frozen=True)
class Weights:
    """A trained backbone on disk.

    Attributes:
        checkpoint: path of the checkpoint.
        part: name of the backbone in it, attributes from its root down; that of the neck differs in its last.
        architecture, layout, output_stride: see `resnet.ResNet`.
        neck: configuration of the `Neck` that was trained with it; None where there is none.
    """

    checkpoint: str
    part: str
    architecture: str
    layout: str
    output_stride: int
    neck: dict[str, Any] | None = None


def restore_backbone(
    run_or_handle: str, network: str | None = None, allow_unfinished: bool = True
) -> resnet.ResNet:
    """A trained backbone, in float32; arguments and errors as of `open_weights`."""
    with open_weights(run_or_handle, network, allow_unfinished) as weights:
        return restore(weights)


def restore(weights: Weights) -> resnet.ResNet:
    """The backbone of weights on disk, in float32; raises `RunError` if they cannot be read."""
    backbone = resnet.build(weights.architecture, weights.layout, weights.output_stride)
    restore_part(weights.checkpoint, weights.part, backbone)
    return backbone


def restore_with_neck(weights: Weights) -> tuple[resnet.ResNet, Neck | None]:
    """The backbone, and the neck that was trained with it or None, in float32; raises `RunError` as `restore` does."""
    backbone = restore(weights)
    if weights.neck is None:
        return backbone, None
    neck = Neck(**weights.neck)
    neck(backbone(tf.keras.Input([None, None, 3])))
    restore_part(weights.checkpoint, re.sub(r"backbone$", "neck", weights.part), neck)
    return backbone, neck


@contextlib.contextmanager
def open_weights(
    run_or_handle: str, network: str | None = None, allow_unfinished: bool = True
) -> Iterator[Weights]:
    """Finds a trained backbone.

    Args:
        run_or_handle: folder of a run or of imported weights, or a TF Hub-style handle of a SavedModel that
            `export.savedmodel` wrote.
        network: "online" or "target"; None is the online one of a run, and of a SavedModel the one that it holds.
        allow_unfinished: whether a run is taken that has not made all its steps.

    Yields:
        Where the weights lie, for as long as the block lasts.

    Raises:
        RunError: if there are none, or it cannot be told what they are, or the run is unfinished.
    """
    if is_run(run_or_handle) or find_checkpoint(run_or_handle) is not None:
        yield _weights_of_run(run_or_handle, network or "online", allow_unfinished)
        return
    with hub_handles.local_copy(run_or_handle) as folder:
        card = model_card.read(folder)
        if card is None:
            raise RunError(
                f"{run_or_handle} is neither a run's folder nor a SavedModel with a {model_card.FILE_NAME}, without which its "
                "layout cannot be told; export one with `python -m export.savedmodel`"
            )
        if network is not None and network != card["network"]:
            raise RunError(
                f"{run_or_handle} holds the {card['network']} network, not the {network} one; leave out --network"
            )
        if not allow_unfinished:
            Progress(**card["training"]).require_finished(run_or_handle)
        yield weights_of_saved_model(folder, card)


def weights_of_saved_model(folder: str, card: dict) -> Weights:
    """Where the weights of a SavedModel lie, and what its card says of them."""
    backbone = card["backbone"]
    return Weights(
        os.path.join(folder, "variables", "variables"),
        "backbone",
        backbone["architecture"],
        backbone["layout"],
        backbone["output_stride"],
        _neck_of_card(card),
    )


def _neck_of_card(card: dict) -> dict[str, Any] | None:
    """Configuration of the neck that a SavedModel has beside its backbone."""
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
        neck_arguments(config),
    )
