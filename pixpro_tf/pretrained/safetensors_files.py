"""Arrays in safetensors files, with a checksum in those that this project writes: the format itself has none."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable

import numpy as np
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from pixpro_tf.data.views.channels import RGB, Channels
from pixpro_tf.errors import DAMAGED_JSON, RunError, first_line

# Types of safetensors files, and those of NumPy for their bytes.
_FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_TYPES = {"float32": "F32", "int64": "I64"}
_CHECKSUM = "pixpro_tf.sha256"
# Channels of the images, and for people how stored values become the input of the network.
_CHANNELS, _INPUT = "pixpro_tf.channels", "pixpro_tf.input"
# The header is preceded by its length.
_LENGTH = 8

# Name, type, shape and bytes of an array.
Entry = tuple[str, str, list[int], bytes]


def write(path: str, weights: dict[str, np.ndarray], channels: Channels = RGB) -> None:
    """Writes weights, and how the images that they are for are scaled and normalised.

    Args:
        path: path of the file.
        weights: arrays of float32 and int64 by name.
        channels: channels of the images.
    """
    entries = [
        (name, _TYPES[array.dtype.name], list(array.shape), array.tobytes())
        for name, array in weights.items()
    ]
    # The format tells other libraries whose layout the arrays have.
    stored = json.dumps(dataclasses.asdict(channels))
    metadata = {
        "format": "pt",
        _CHANNELS: stored,
        _INPUT: channels.preparation,
        _CHECKSUM: _sha256(entries, stored),
    }
    # Python's own files tell why they cannot be written.
    with open(path, "wb") as file:
        file.write(save(weights, metadata=metadata))


def read(content: bytes) -> tuple[dict[str, np.ndarray], Channels]:
    """Reads the contents of a file.

    Args:
        content: contents of the file.

    Returns:
        The floating-point arrays in float32, without what else there is, such as counters; and the channels of the images, those of RGB if
        another program wrote the file.

    Raises:
        RunError: if the file is damaged; the message continues its name.
    """
    try:
        found = deserialize(content)
        length = int.from_bytes(content[:_LENGTH], "little")
        header = json.loads(content[_LENGTH : _LENGTH + length])
    except (SafetensorError, ValueError, RecursionError) as error:
        raise RunError(f"cannot be read: {first_line(error)}") from error
    entries = [(name, each["dtype"], each["shape"], bytes(each["data"])) for name, each in found]
    metadata = header.get("__metadata__", {})
    checksum, stored = metadata.get(_CHECKSUM), metadata.get(_CHANNELS, "")
    if checksum is not None and checksum != _sha256(entries, stored):
        raise RunError("cannot be read: its checksum differs; export the weights again")
    arrays = {
        name: _as_float32(data, kind).reshape(shape)
        for name, kind, shape, data in entries
        if kind in _FLOATS
    }
    return arrays, _channels(stored) if stored else RGB


def _channels(stored: str) -> Channels:
    try:
        channels = Channels(**json.loads(stored))
        each = zip(*dataclasses.astuple(channels), strict=True)
        if all(low < high and std > 0 for low, high, _, std in each):
            return channels
    except DAMAGED_JSON:
        pass
    raise RunError(f"cannot be read: its metadata {_CHANNELS} is damaged; export the weights again")


def _sha256(entries: Iterable[Entry], channels: str) -> str:
    checksum = hashlib.sha256(channels.encode())
    for name, kind, shape, data in sorted(entries):
        checksum.update(f"{name} {kind} {shape} ".encode())
        checksum.update(data)
    return checksum.hexdigest()


def _as_float32(data: bytes, kind: str) -> np.ndarray:
    array = np.frombuffer(data, _FLOATS[kind])
    if kind == "BF16":
        # The upper half of a float32.
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32)
