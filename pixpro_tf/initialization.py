"""Starting from somebody's weights: a run, a checkpoint, a SavedModel or a TF Hub handle."""

import contextlib
import os
import tarfile
import tempfile

import numpy as np
import tensorflow as tf

from pixpro_tf.errors import RunError, first_line
from pixpro_tf.pixpro import PixPro
from pixpro_tf.run_folder import RunFolder, read_config
from pixpro_tf.trained import find_checkpoint, restore_part


def initialize_from(model: PixPro, handle: str) -> str:
    """Loads weights into the online network and makes the target its copy.

    A run's folder or checkpoint gives the backbone, and the heads whose shapes fit; a SavedModel gives the backbone.

    Args:
        model: built model.
        handle: path or TF Hub handle.

    Returns:
        One line on what was loaded.

    Raises:
        RunError: if nothing is there, it cannot be read, or it holds another backbone.
    """
    # An address is of a hub: no file system of TensorFlow's.
    is_address = handle.startswith(("http://", "https://"))
    try:
        checkpoint = None if is_address else find_checkpoint(handle)
    except tf.errors.OpError as error:
        raise RunError(f"--init_from={handle} cannot be read: {first_line(error)}") from error
    loaded = _load_checkpoint(model, checkpoint) if checkpoint else _load_saved_model(model, handle)
    model.start_target_from_online()
    return f"Starts from {handle}: {loaded}"


def _load_checkpoint(model: PixPro, path: str) -> str:
    try:
        stored = tf.train.list_variables(path)
    except (tf.errors.OpError, ValueError) as error:
        raise RunError(
            f"--init_from: {path} is no checkpoint that can be read: {first_line(error)}"
        ) from error
    if not _same_shapes(stored, "online/backbone", model.online.backbone):
        raise RunError(
            f"--init_from: the backbone in {path} is not a {model.online.backbone.architecture}; "
            "give the --backbone that it was made with"
        )
    _check_layout(model, path)
    parts: dict[str, tf.keras.layers.Layer] = {"online/backbone": model.online.backbone}
    heads = {
        "online/projector": model.online.projector,
        "propagation": model.propagation,
        "online/instance_projector": model.online.instance_projector,
        "instance_predictor": model.instance_predictor,
    }
    for name, head in heads.items():
        if head is not None and _same_shapes(stored, name, head):
            parts[name] = head
    for name, part in parts.items():
        restore_part(path, name, part)
    return f"{', '.join(name.split('/')[-1] for name in parts)} of {path}"


def _check_layout(model, checkpoint):
    """Weights have the same shapes in all layouts, and give other features; the run that they are of says which it was."""
    folder = RunFolder(os.path.dirname(os.path.dirname(checkpoint)))
    if not tf.io.gfile.exists(folder.config):
        return
    layout = read_config(folder).backbone_layout
    if layout != model.online.backbone.layout:
        raise RunError(
            f"--init_from: the backbone in {checkpoint} has the layout {layout} and would give other features as "
            f"{model.online.backbone.layout}; give --backbone_layout={layout}"
        )


def _same_shapes(stored, prefix, part) -> bool:
    there = sorted(
        list(shape)
        for key, shape in stored
        if key.startswith(f"{prefix}/") and "OPTIMIZER_SLOT" not in key
    )
    return there == sorted(variable.shape.as_list() for variable in part.variables)


def _load_saved_model(model: PixPro, handle: str) -> str:
    try:
        with _unpacked(handle) as folder:
            variables = tf.saved_model.load(folder).variables
    except Exception as error:
        # A handle can fail in its file system, in HTTP, in an archive or in the SavedModel, each with exceptions of its own.
        raise RunError(
            f"--init_from={handle} is neither a run's folder, a checkpoint, nor a SavedModel or hub handle that loads: "
            f"{first_line(error)}"
        ) from error
    stored = {_name_in_layer(variable): variable for variable in variables}
    if len(stored) < len(variables):
        raise RunError(
            f"--init_from={handle} holds several variables of one name, so it is not a backbone alone; export one"
        )
    backbone = model.online.backbone
    fitting = []
    for variable in backbone.variables:
        found = stored.get(_name_in_layer(variable))
        if found is None or found.shape != variable.shape:
            what = "has no" if found is None else f"has another shape ({found.shape}) of"
            raise RunError(
                f"--init_from={handle} {what} {_name_in_layer(variable)}, so it is not a {backbone.architecture}; "
                "give the --backbone that it was made with"
            )
        fitting.append((variable, np.asarray(found)))
    for variable, value in fitting:
        variable.assign(value)
    return "backbone of a SavedModel"


@contextlib.contextmanager
def _unpacked(handle: str):
    """The folder of a SavedModel, where TensorFlow can read it."""
    import tensorflow_hub as hub

    path = os.path.expanduser(handle)
    # TF Hub unpacks what comes from an address, and nothing else.
    if path.endswith((".tar.gz", ".tgz")) and "://" not in path:
        with tempfile.TemporaryDirectory() as folder:
            with tarfile.open(path) as archive:
                archive.extractall(folder, filter="data")
            yield folder
    else:
        yield hub.resolve(path)


def _name_in_layer(variable) -> str:
    """`layer1.0.conv1/kernel`, whatever the scopes around it."""
    return "/".join(variable.name.split(":")[0].split("/")[-2:])
