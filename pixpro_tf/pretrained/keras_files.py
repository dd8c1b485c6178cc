"""Arrays of the layers in files that Keras 2 or Keras 3 wrote: `.h5`, `.weights.h5` and `.keras`."""

import io
import os
import re
import zipfile
from typing import Any

import h5py
import numpy as np
import tensorflow as tf

from pixpro_tf.data import limits
from pixpro_tf.errors import RunError, first_line

SUFFIXES = (".h5", ".hdf5", ".keras")
# Member of a `.keras` archive with the weights.
_WEIGHTS = "model.weights.h5"
# Orders in which Keras stores the arrays of a layer.
_ORDER = ("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance")

# Arrays of each layer, in Keras' order: kernel and bias of a convolution; gamma, beta, mean and variance of a batch norm.
Layers = dict[str, list[np.ndarray]]


def read_layers(path: str) -> Layers:
    """Returns the arrays of the convolutions and batch norms in a file, by the names of their layers.

    Args:
        path: file that `save`, `save_weights` or `save_to_preset` wrote. Older versions of Keras 3 do not store the names of layers; these
            layers are called by their class and number, e.g. `conv2d_3`.

    Raises:
        RunError: if the file cannot be read or contains several layers with the same name; the message continues the name of the file.
    """
    try:
        with io.BytesIO(_content(path)) as content, h5py.File(content, "r") as file:
            arrays = _arrays(file)
    except (
        OSError,
        KeyError,
        ValueError,
        RuntimeError,
        RecursionError,
        MemoryError,
        zipfile.BadZipFile,
        tf.errors.OpError,
    ) as error:
        raise RunError(f"is not a Keras file that can be read: {first_line(error)}") from error
    layers: Layers = {}
    for name, found in arrays:
        if name in layers:
            raise RunError(
                f"contains several layers {name}, so it is more than a backbone; save the backbone alone"
            )
        layers[name] = found
    return layers


def _content(path: str) -> bytes:
    with tf.io.gfile.GFile(os.path.expanduser(path), "rb") as file:
        content = file.read()
    if not path.endswith(".keras"):
        return content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        limits.check_weights(archive.getinfo(_WEIGHTS).file_size)
        return archive.read(_WEIGHTS)


def _arrays(file: Any) -> list[tuple[str, list[np.ndarray]]]:
    """Returns pairs of the name of a layer and its arrays."""
    groups: dict[str, dict[str, Any]] = {}

    def visit(path: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and "optimizer" not in path:
            group, _, name = path.rpartition("/")
            groups.setdefault(group, {})[name] = item

    file.visititems(visit)
    return [
        (_layer_name(file, path), _in_order(group))
        for path, group in groups.items()
        if _is_used(group)
    ]


def _is_used(group: dict[str, Any]) -> bool:
    """Returns whether these are the arrays of a convolution or a batch norm."""
    ranks = sorted(array.ndim for array in group.values())
    known = all(_plain(name) in _ORDER or name.isdigit() for name in group)
    return known and ranks in ([4], [1, 4], [1, 1, 1, 1])


def _plain(name: str) -> str:
    """Returns the name of an array without a suffix such as `:0`."""
    return re.sub(r"(_\d+)?(:\d+)?$", "", name)


def _in_order(group: dict[str, Any]) -> list[np.ndarray]:
    def place(name: str) -> int:
        # Keras 3 numbers the arrays of a layer; the older formats name them.
        return int(name) if name.isdigit() else _ORDER.index(_plain(name))

    limits.check_weights(sum(array.nbytes for array in group.values()))
    return [np.asarray(group[name]) for name in sorted(group, key=place)]


def _layer_name(file: Any, path: str) -> str:
    """Returns the name of the layer whose arrays are in a group of the file."""
    parts = path.split("/")
    if parts[-1] != "vars":
        return parts[-1]
    for group in (path, path.rpartition("/")[0]):
        name = file[group].attrs.get("name")
        if name:
            return name.decode() if isinstance(name, bytes) else str(name)
    return parts[-2]
