"""A trained network from the folder of its run or from an exported SavedModel, as exports and evaluations take it."""

import contextlib
import dataclasses
import os
import re
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from pixpro_tf import checkpoint_files, handles, model_card, pixpro
from pixpro_tf.backbones import resnet
from pixpro_tf.backbones.fpn import Neck
from pixpro_tf.checkpoint_files import UNREADABLE
from pixpro_tf.checkpoints import parts_of
from pixpro_tf.config import Config
from pixpro_tf.data.pipeline import batches_per_epoch
from pixpro_tf.errors import RunError, first_line
from pixpro_tf.objectives.consistency import PixelConsistency
from pixpro_tf.objectives.pixel import PixelObjective
from pixpro_tf.run_folder import RunFolder, read_config, read_description

NETWORKS = ("online", "target")
_IN_A_RUN = re.compile(
    rf"/checkpoints(/{checkpoint_files.KEPT})?(/{checkpoint_files.NAME}(\.index)?)?$"
)
_STEP = "optimizer/_iterations/.ATTRIBUTES/VARIABLE_VALUE"


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


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a run has come; both are None for imported weights, which are of no run here.

    Attributes:
        step: steps it has made.
        total_steps: steps of the whole run.
    """

    step: int | None
    total_steps: int | None


def find_checkpoint(path: str) -> str | None:
    """The newest checkpoint of a run's folder, of a folder of checkpoints, or the checkpoint itself; None if there is none.

    Raises:
        RunError: if the file system cannot be reached.
    """
    if handles.is_hub_address(path):
        return None
    path = os.path.expanduser(path)
    with _reached(path):
        for folder in (os.path.join(path, "checkpoints"), path):
            if found := checkpoint_files.checkpoints_in(folder):
                return found[0]
        # Others name theirs otherwise.
        if latest := tf.train.latest_checkpoint(path):
            return latest
        prefix = path.removesuffix(".index")
        return prefix if tf.io.gfile.exists(f"{prefix}.index") else None


@contextlib.contextmanager
def _reached(path: str) -> Iterator[None]:
    """Turns the error of a file system that is not there, or does not answer, into a line."""
    try:
        yield
    except tf.errors.OpError as error:
        raise RunError(f"{path} cannot be read: {first_line(error)}") from error


def require_checkpoint(run: str) -> str:
    """The newest checkpoint of a run.

    Raises:
        RunError: if it has none.
    """
    checkpoint = find_checkpoint(run)
    if checkpoint is None:
        raise RunError(f"{run} holds no checkpoint; train the run until it has written one")
    return checkpoint


def read_run_config(run: str) -> Config:
    """A run's configuration.

    Raises:
        RunError: if it is missing or damaged, or the run has no checkpoint.
    """
    require_checkpoint(run)
    return read_config(folder_of(run))


def progress_of(run: str) -> Progress:
    """How far a run has come; raises `RunError` as `read_run_config` does."""
    config, checkpoint = _open(run)
    num_images = read_description(folder_of(run))["num_images"]
    if num_images is None:
        return Progress(None, None)
    steps = config.steps_per_epoch or batches_per_epoch(num_images, config.batch_size)
    return Progress(finished_steps(checkpoint), config.epochs * steps)


def finished_steps(checkpoint: str) -> int:
    """The step of a run's checkpoint.

    Raises:
        RunError: if it cannot be read.
    """
    try:
        return int(tf.train.load_variable(checkpoint, _STEP))
    except UNREADABLE as error:
        raise RunError(f"{checkpoint} cannot be read: {first_line(error)}") from error


def require_finished(name: str, progress: Progress) -> None:
    """Raises `RunError` unless a run has made all its steps: before that its rate and momentum are not at their ends.

    Args:
        name: of the run, for the message.
        progress: how far it has come.
    """
    if progress.step is None or progress.total_steps is None:
        return
    if progress.step < progress.total_steps:
        raise RunError(
            f"{name} has made {progress.step} of its {progress.total_steps} steps; train it to its end, "
            "or take it as it is with --allow_unfinished"
        )


def load_pixpro(run: str) -> tuple[pixpro.PixPro, Config]:
    """A run's whole model, in float32, neither compiled nor for training, and the run's configuration.

    Args:
        run: the run's folder.

    Raises:
        RunError: if there is no run, no checkpoint, or the checkpoint lacks a part of the model or cannot be read.
    """
    config, checkpoint = _open(run)
    # No steps: this model has its weights, and no schedule to train by.
    model = pixpro.from_config(dataclasses.replace(config, jit="off"), total_steps=1)
    for name, part in parts_of(model).items():
        restore_part(checkpoint, name, part)
    return model, config


def heads_of(model: pixpro.PixPro, network: str) -> dict[str, tf.keras.layers.Layer]:
    """What is exported beside the backbone of a network, by its name there.

    Returns:
        The "neck", where there is one; and of a pixel objective the "projector" and, on the online side, the "propagation".
    """
    encoder = getattr(model, network)
    heads = {"neck": encoder.neck} if encoder.neck is not None else {}
    for objective in model.objectives:
        if isinstance(objective, PixelObjective):
            heads["projector"] = encoder.projectors[objective.name]
            if isinstance(objective, PixelConsistency) and network == "online":
                heads["propagation"] = objective
    return heads


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
    if _is_run(run_or_handle) or find_checkpoint(run_or_handle) is not None:
        yield _weights_of_run(run_or_handle, network or "online", allow_unfinished)
        return
    with handles.local_copy(run_or_handle) as folder:
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
            require_finished(run_or_handle, Progress(**card["training"]))
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
    config, checkpoint = _open(run)
    if not allow_unfinished:
        require_finished(run, progress_of(run))
    return Weights(
        checkpoint,
        f"{network}/backbone",
        config.backbone,
        config.backbone_layout,
        config.output_stride,
        pixpro.neck_settings(config),
    )


def restore_part(checkpoint: str, name: str, part: tf.keras.layers.Layer) -> None:
    """Restores one part of a checkpoint.

    Args:
        checkpoint: path of it.
        name: attributes from the checkpoint's root down, as "online/backbone".
        part: whose variables exist.

    Raises:
        RunError: if the part is not in it, or differs, or it cannot be read.
    """
    root: tf.train.Checkpoint | tf.keras.layers.Layer = part
    for attribute in reversed(name.split("/")):
        root = tf.train.Checkpoint(**{attribute: root})
    try:
        root.read(checkpoint).expect_partial().assert_existing_objects_matched()
    except UNREADABLE as error:
        raise RunError(f"{checkpoint} gives no {name}: {first_line(error)}") from error


def _is_run(path: str) -> bool:
    if handles.is_hub_address(path):
        return False
    with _reached(path):
        return tf.io.gfile.exists(folder_of(path).config)


def folder_of(run: str) -> RunFolder:
    """The folder of a run, of which its `checkpoints` or one of them may be named."""
    return RunFolder(_IN_A_RUN.sub("", os.path.expanduser(run).rstrip("/")))


def _open(run: str) -> tuple[Config, str]:
    return read_run_config(run), require_checkpoint(run)
