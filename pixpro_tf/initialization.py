"""Starting from somebody's weights: a run, a checkpoint, a SavedModel or a TF Hub handle."""

import numpy as np
import tensorflow as tf

from pixpro_tf import handles, model_card, trained
from pixpro_tf.checkpoint_files import UNREADABLE
from pixpro_tf.errors import RunError, first_line
from pixpro_tf.pixpro import PixPro
from pixpro_tf.run_folder import read_config


def initialize_from(model: PixPro, handle: str) -> str:
    """Loads weights into the online network and makes the target its copy.

    A run's folder or checkpoint gives the backbone, and the heads whose shapes fit; so does a SavedModel that this project exported.
    Another SavedModel gives the backbone, by the names of its variables.

    Args:
        model: built model.
        handle: path or TF Hub handle.

    Returns:
        One line on what was loaded.

    Raises:
        RunError: if nothing is there, it cannot be read, or it holds another backbone.
    """
    try:
        checkpoint = trained.find_checkpoint(handle)
        loaded = _load_run(model, checkpoint) if checkpoint else _load_saved_model(model, handle)
    except RunError as error:
        raise RunError(f"--init_from: {error}") from error
    model.start_target_from_online()
    return f"Starts from {handle}: {loaded}"


def _load_run(model: PixPro, checkpoint: str) -> str:
    try:
        stored = tf.train.list_variables(checkpoint)
    except UNREADABLE as error:
        raise RunError(f"{checkpoint} cannot be read: {first_line(error)}") from error
    backbone = model.online.backbone
    if not _same_shapes(stored, "online/backbone", backbone):
        raise _another_backbone(model, f"the backbone in {checkpoint}")
    folder = trained.folder_of(checkpoint)
    # A lone checkpoint does not say what it is.
    if tf.io.gfile.exists(folder.config):
        _check_layout(model, checkpoint, read_config(folder).backbone_layout)
    parts = {
        label: (path, part)
        for label, (path, part) in _heads_of_run(model).items()
        if _same_shapes(stored, path, part)
    }
    return _restore(checkpoint, {"backbone": ("online/backbone", backbone)} | parts)


def _heads_of_run(model: PixPro) -> dict[str, tuple[str, tf.keras.layers.Layer]]:
    """What a run may give beside the backbone: its place in a checkpoint and the part, by words for the user."""
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


def _load_saved_model(model: PixPro, handle: str) -> str:
    with handles.local_copy(handle) as folder:
        card = model_card.read(folder)
        if card is None:
            return _load_by_names(model, handle, folder)
        weights = trained.weights_of_saved_model(folder, card)
        if weights.architecture != model.online.backbone.architecture:
            raise _another_backbone(model, f"the {weights.architecture} in {handle}")
        _check_layout(model, handle, weights.layout)
        parts = {
            name: (name, head)
            for name, head in trained.heads_of(model, "online").items()
            if card["heads"].get(name) == model_card.describe_head(head)
        }
        backbone = (weights.part, model.online.backbone)
        return _restore(weights.checkpoint, {"backbone": backbone} | parts)


def _restore(checkpoint: str, parts: dict[str, tuple[str, tf.keras.layers.Layer]]) -> str:
    for path, part in parts.values():
        trained.restore_part(checkpoint, path, part)
    return ", ".join(parts)


def _another_backbone(model: PixPro, what: str) -> RunError:
    return RunError(
        f"{what} is not a {model.online.backbone.architecture}; give the --backbone that it was made with"
    )


def _check_layout(model: PixPro, name: str, layout: str) -> None:
    """Weights have the same shapes in all layouts, and give other features."""
    wanted = model.online.backbone.layout
    if layout != wanted:
        raise RunError(
            f"the backbone in {name} has the layout {layout} and would give other features as {wanted}; "
            f"give --backbone_layout={layout}"
        )


def _same_shapes(stored, prefix, part) -> bool:
    there = sorted(
        list(shape)
        for key, shape in stored
        if key.startswith(f"{prefix}/") and "OPTIMIZER_SLOT" not in key
    )
    return there == sorted(variable.shape.as_list() for variable in part.variables)


def _load_by_names(model: PixPro, handle: str, folder: str) -> str:
    try:
        variables = tf.saved_model.load(folder).variables
    except Exception as error:
        # A SavedModel may want ops, devices or attributes that are not here.
        raise RunError(
            f"{handle} is neither a run's folder, a checkpoint, nor a SavedModel that loads: {first_line(error)}"
        ) from error
    stored = {_name_in_layer(variable): variable for variable in variables}
    if len(stored) < len(variables):
        raise RunError(
            f"{handle} holds several variables of one name, so it is not a backbone alone; export one"
        )
    backbone = model.online.backbone
    fitting = []
    for variable in backbone.variables:
        found = stored.get(_name_in_layer(variable))
        if found is None or found.shape != variable.shape:
            what = "has no" if found is None else f"has another shape ({found.shape}) of"
            raise RunError(
                f"{handle} {what} {_name_in_layer(variable)}, so it is not a {backbone.architecture}; "
                "give the --backbone that it was made with"
            )
        fitting.append((variable, np.asarray(found)))
    for variable, value in fitting:
        variable.assign(value)
    return "backbone of a SavedModel"


def _name_in_layer(variable) -> str:
    """`layer1.0.conv1/kernel`, whatever the scopes around it."""
    return "/".join(variable.name.split(":")[0].split("/")[-2:])
