"""Arrays in safetensors files, with a checksum in those that this project writes: the format itself has none."""

import hashlib
import json
from collections.abc import Iterable

import numpy as np
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save_file

from pixpro_tf.errors import RunError, first_line

# Types of safetensors files, and those of NumPy for their bytes.
_FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_TYPES = {"float32": "F32", "int64": "I64"}
_CHECKSUM = "pixpro_tf.sha256"
# The header is preceded by its length.
_LENGTH = 8

# Name, type, shape and bytes of an array.
Entry = tuple[str, str, list[int], bytes]


def write(path: str, weights: dict[str, np.ndarray]) -> None:
    """Writes arrays of float32 and int64 by name."""
    entries = [
        (name, _TYPES[array.dtype.name], list(array.shape), array.tobytes())
        for name, array in weights.items()
    ]
    # The format tells other libraries whose layout the arrays have.
    metadata = {"format": "pt", _CHECKSUM: _sha256(entries)}
    save_file(weights, path, metadata=metadata)


def read(content: bytes) -> dict[str, np.ndarray]:
    """Returns the floating-point arrays of a file in float32; what else there is, such as counters, is left out.

    Args:
        content: contents of the file.

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
    checksum = header.get("__metadata__", {}).get(_CHECKSUM)
    if checksum is not None and checksum != _sha256(entries):
        raise RunError("cannot be read: its checksum differs; export the weights again")
    return {
        name: _as_float32(data, kind).reshape(shape)
        for name, kind, shape, data in entries
        if kind in _FLOATS
    }


def _sha256(entries: Iterable[Entry]) -> str:
    checksum = hashlib.sha256()
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
