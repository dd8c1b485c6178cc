"""Reading and writing PyTorch's files. The only module that imports PyTorch, and only when it has to.

Files are read in a process of their own, for PyTorch and TensorFlow together take two thirds of a gigabyte before they do anything.
"""

import argparse
import concurrent.futures
import dataclasses
import importlib.util
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

# Where checkpoints keep their weights.
_WEIGHT_ENTRIES = ("model", "state_dict")


@dataclasses.dataclass(frozen=True)
class TorchFile:
    """What a checkpoint holds.

    Attributes:
        path: of the file.
        weights: arrays by name, in the file's order, without the prefix `module.`.
        options: of the run that wrote it, as its flags had them; empty if it does not say.
        content: everything, with arrays in the place of tensors.
    """

    path: str
    weights: dict[str, np.ndarray]
    options: dict[str, Any]
    content: dict[str, Any]


def read(path: str) -> TorchFile:
    """Reads a checkpoint without running code from it.

    Args:
        path: of a file that `torch.save` wrote: a state dict, or a dict that has one under "model" or "state_dict".

    Raises:
        RunError: if the file is missing, damaged, wants to run code, or holds no weights; or without PyTorch.
    """
    path = os.path.expanduser(path)
    if not os.path.isfile(path):
        raise RunError(f"--checkpoint={path} is no file")
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
                f"--checkpoint={path} cannot be read: the process that read it was ended; is there memory enough?"
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
            f"--checkpoint={path} holds no weights; a state dict is expected, or a dict that has one under "
            + " or ".join(_WEIGHT_ENTRIES)
        )
    options = content.get("opt") if isinstance(content, dict) else None
    options = vars(options) if isinstance(options, argparse.Namespace) else {}
    return TorchFile(path, arrays, options, content)


def write(path: str, content: dict[str, Any]) -> None:
    """Writes a checkpoint; arrays in `content["model"]` become tensors."""
    require_torch()
    import torch

    model = {name: torch.from_numpy(array) for name, array in content["model"].items()}
    torch.save(content | {"model": model}, path)


def require_torch() -> None:
    """Raises `RunError` unless PyTorch is installed."""
    if importlib.util.find_spec("torch") is None:
        raise RunError(
            "PyTorch is needed for its files and is not installed; install it with `pip install torch`"
        )


def _convert(path: str, output: str) -> None:
    """Writes a checkpoint's content, with arrays in the place of tensors, as a pickle of our own."""
    content = _with_arrays(_load(path), path)
    with open(output, "wb") as file:
        pickle.dump(content, file, protocol=5)


def _load(path: str) -> Any:
    import torch

    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
            # About pickles that PyTorch did not write; they are refused below.
            warnings.simplefilter("ignore")
            return torch.load(
                path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
            )
    except pickle.UnpicklingError as error:
        code = re.search(r"GLOBAL (\S+)", str(error))
        if code:
            raise RunError(
                f"--checkpoint={path} is refused: it wants to run {code[1]}, and a file of weights has no need of code"
            ) from error
        raise _damaged(path, error) from error
    except (RuntimeError, EOFError, LookupError, ValueError, AttributeError, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path: str, error: Exception) -> RunError:
    # PyTorch begins some of its reasons with advice that does not apply, and ends others with guesses.
    text = re.sub(
        r"^Weights only load failed.*?WeightsUnpickler error:\s*", "", str(error), flags=re.S
    )
    reason = text.strip().split("\n")[0].split(". ")[0] or type(error).__name__
    return RunError(
        f"--checkpoint={path} cannot be read: it is truncated, or no file of PyTorch's ({reason})"
    )


def _with_arrays(value: Any, name: str) -> Any:
    import torch

    if isinstance(value, dict):
        return {key: _with_arrays(item, str(key)) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_arrays(item, name) for item in value]
    if not isinstance(value, torch.Tensor):
        return value
    try:
        # NumPy has no bfloat16; the other way only the width changes.
        return (value.float() if value.is_floating_point() else value).detach().numpy()
    except (RuntimeError, TypeError) as error:
        raise RunError(f"--checkpoint: {name} cannot be read: {first_line(error)}") from error
