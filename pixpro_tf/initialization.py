"""Starting from somebody's weights: a run, a checkpoint, a SavedModel or a TF Hub handle."""

import contextlib
import os
import tarfile
import tempfile

import numpy as np
import tensorflow as tf

from pixpro_tf.errors import RunError, first_line
from pixpro_tf.pixpro import PixPro


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
    checkpoint = _find_checkpoint(handle)
    loaded = _load_checkpoint(model, checkpoint) if checkpoint else _load_saved_model(model, handle)
    model.start_target_from_online()
    return f"Starts from {handle}: {loaded}"


def _find_checkpoint(handle: str) -> str | None:
    # Of a hub: no file system of TensorFlow's.
    if handle.startswith(("http://", "https://")):
        return None
    path = os.path.expanduser(handle)
    for folder in (os.path.join(path, "checkpoints"), path):
        latest = tf.train.latest_checkpoint(folder)
        if latest is not None:
            return latest
    prefix = path.removesuffix(".index")
    return prefix if tf.io.gfile.exists(f"{prefix}.index") else None


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
        _restore_part(path, name, part)
    return f"{', '.join(name.split('/')[-1] for name in parts)} of {path}"


def _same_shapes(stored, prefix, part) -> bool:
    there = sorted(
        list(shape)
        for key, shape in stored
        if key.startswith(f"{prefix}/") and "OPTIMIZER_SLOT" not in key
    )
    return there == sorted(variable.shape.as_list() for variable in part.variables)


def _restore_part(path, name, part):
    root: tf.train.Checkpoint | tf.keras.layers.Layer = part
    for attribute in reversed(name.split("/")):
        root = tf.train.Checkpoint(**{attribute: root})
    root.read(path).expect_partial().assert_existing_objects_matched()


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
