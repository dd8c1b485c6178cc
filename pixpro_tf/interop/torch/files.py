"""Reading and writing of PyTorch files. Only this module imports PyTorch, and only when it is needed.

Files are read in a separate process, because PyTorch and TensorFlow together take two thirds of a gigabyte before they do anything.
"""

import argparse
import concurrent.futures
import dataclasses
import importlib.metadata
import importlib.util
import io
import multiprocessing
import os
import pickle
import re
import tempfile
import warnings
import zipfile
from typing import Any

import numpy as np

from pixpro_tf.errors import RunError, first_line

# Keys under which checkpoints contain their weights.
_WEIGHT_ENTRIES = ("model", "state_dict")
# First version that does not execute code from crafted files.
_SAFE_TORCH = (2, 6)


@dataclasses.dataclass(frozen=True)
class TorchFile:
    """Contents of a checkpoint.

    Attributes:
        path: path of the file.
        weights: arrays by name, in the order of the file, without the prefix `module.`.
        options: options of the run that wrote the file, by the names of its flags; empty if the file does not contain them.
        content: everything in the file, with arrays instead of tensors.
    """

    path: str
    weights: dict[str, np.ndarray]
    options: dict[str, Any]
    content: dict[str, Any]


def read(path: str) -> TorchFile:
    """Reads a checkpoint without executing code from it.

    Args:
        path: path of a file that `torch.save` wrote: a state dict, or a dict that contains one under "model" or "state_dict".

    Raises:
        RunError: if the file is missing or damaged, requires executing code, or does not contain weights, or if PyTorch is not installed.
    """
    path = os.path.expanduser(path)
    if not os.path.isfile(path):
        raise RunError(f"--checkpoint={path} is not an existing file")
    if not os.path.getsize(path):
        raise RunError(f"--checkpoint={path} is empty")
    require_torch()
    with (
        tempfile.TemporaryDirectory() as folder,
        concurrent.futures.ProcessPoolExecutor(
            1, mp_context=multiprocessing.get_context("spawn")
        ) as reader,
    ):
        converted = os.path.join(folder, "content")
        try:
            reader.submit(_convert, path, converted).result()
        except concurrent.futures.BrokenExecutor as error:
            raise RunError(
                f"--checkpoint={path} cannot be read: the process that read it was killed; check that there is enough memory"
            ) from error
        with open(converted, "rb") as file:
            content = pickle.load(file)
    weights = content
    if isinstance(content, dict):
        weights = next((content[name] for name in _WEIGHT_ENTRIES if name in content), content)
    arrays = {}
    if isinstance(weights, dict):
        arrays = {
            str(name).removeprefix("module."): array
            for name, array in weights.items()
            if isinstance(array, np.ndarray)
        }
    if not arrays:
        raise RunError(
            f"--checkpoint={path} does not contain weights; use a state dict, or a dict that contains one under "
            + " or ".join(_WEIGHT_ENTRIES)
        )
    options = content.get("opt") if isinstance(content, dict) else None
    options = vars(options) if isinstance(options, argparse.Namespace) else {}
    return TorchFile(path, arrays, options, content)


def write(path: str, weights: dict[str, np.ndarray], entry: str = "") -> None:
    """Writes a state dict with PyTorch.

    Args:
        path: path of the file.
        weights: arrays by name.
        entry: key of the state dict in the checkpoint; empty if the file contains nothing else.
    """
    require_torch()
    import torch

    tensors = {name: torch.from_numpy(array) for name, array in weights.items()}
    content = io.BytesIO()
    torch.save({entry: tensors} if entry else tensors, content)
    # Python's own files tell why they cannot be written.
    with open(path, "wb") as file:
        file.write(content.getbuffer())


def require_torch() -> None:
    """Raises `RunError` unless PyTorch is installed, in a version that does not execute code from the files that it reads."""
    if importlib.util.find_spec("torch") is None:
        raise RunError(
            "PyTorch is required to read and write its files, but is not installed; run `pip install torch`"
        )
    version = importlib.metadata.version("torch")
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < _SAFE_TORCH:
        raise RunError(
            f"PyTorch {version} can execute code from the files that it reads (CVE-2025-32434); run `pip install 'torch>=2.6'`"
        )


def _convert(path: str, output: str) -> None:
    """Writes the content of a checkpoint, with arrays instead of tensors, as a pickle of this project."""
    try:
        content = _with_arrays(_load(path), path, "", {})
    except RunError:
        raise
    except Exception as error:
        # PyTorch, and the conversion of what it returns, fail in many ways for damaged and for crafted files.
        raise _damaged(path, error) from None
    try:
        with open(output, "wb") as file:
            pickle.dump(content, file, protocol=5)
    except OSError as error:
        raise RunError(
            f"{os.path.dirname(output)} cannot be written: {error.strerror}; free some space, or set TMPDIR to another folder"
        ) from None


def _load(path: str) -> Any:
    import torch

    is_archive = zipfile.is_zipfile(path)
    if is_archive:
        # PyTorch itself ignores the checksums.
        with zipfile.ZipFile(path) as archive:
            if (damaged := archive.testzip()) is not None:
                raise ValueError(f"the checksum of {damaged} differs")
    allowed = [argparse.Namespace, *_numbers_of_numpy()]
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(allowed):
            # Warnings about pickles that PyTorch did not write; they are rejected below.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_archive)
    except pickle.UnpicklingError as error:
        code = re.search(r"GLOBAL (\S+)", str(error))
        if not code:
            raise
        raise RunError(
            f"--checkpoint={path} is rejected because loading it would execute {code[1]}; use a file that contains only weights"
        ) from error


def _numbers_of_numpy() -> list[Any]:
    """Returns what a pickle needs to contain numbers of NumPy, such as a loss: nothing that executes code."""
    scalar = np.float32(0).__reduce__()[0]
    types = {type(np.dtype(kind)) for kind in np.typecodes["AllFloat"] + np.typecodes["AllInteger"]}
    # The module has another name in NumPy 1 than in NumPy 2.
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    return [np.dtype, *types, *((scalar, name) for name in names)]


def _damaged(path: str, error: Exception) -> RunError:
    # Some of PyTorch's messages start with advice that does not apply, and others end with guesses.
    text = re.sub(
        r"^Weights only load failed.*?WeightsUnpickler error:\s*", "", str(error), flags=re.S
    )
    reason = text.strip().split("\n")[0].split(". ")[0] or type(error).__name__
    if isinstance(error, RecursionError):
        reason = "its objects are nested too deeply"
    return RunError(
        f"--checkpoint={path} cannot be read: it is truncated or not a PyTorch file ({reason})"
    )


def _with_arrays(value: Any, path: str, name: str, done: dict[int, Any]) -> Any:
    """Returns a value with arrays instead of tensors; `done` contains the results by the identity of their values.

    A value can contain another one many times, so that it would be enormous if each were converted by itself.
    """
    import torch

    if isinstance(value, (dict, list, tuple)):
        if id(value) in done:
            return done[id(value)]
        if isinstance(value, dict):
            found: Any = {
                key: _with_arrays(item, path, str(key), done) for key, item in value.items()
            }
        else:
            found = [_with_arrays(item, path, name, done) for item in value]
        done[id(value)] = found
        return found
    if not isinstance(value, torch.Tensor):
        return value
    try:
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise RuntimeError("it has more values than the file contains")
        # NumPy has no bfloat16; for other floating-point types, the conversion to float32 changes only the width.
        return (value.float() if value.is_floating_point() else value).detach().numpy()
    except (RuntimeError, TypeError) as error:
        raise RunError(
            f"--checkpoint={path}: {name} cannot be read: {first_line(error)}"
        ) from error
