"""Reading and writing PyTorch's files. The only module that imports PyTorch, and only when it has to."""

import argparse
import dataclasses
import os
import pickle
import re
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
        content: everything, as PyTorch gives it.
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
    content = _load(path)
    weights = content
    if isinstance(content, dict):
        weights = next((content[name] for name in _WEIGHT_ENTRIES if name in content), content)
    arrays = _arrays(path, weights) if isinstance(weights, dict) else {}
    if not arrays:
        raise RunError(
            f"--checkpoint={path} holds no weights; a state dict is expected, or a dict that has one under "
            + " or ".join(_WEIGHT_ENTRIES)
        )
    options = content.get("opt")
    options = vars(options) if isinstance(options, argparse.Namespace) else {}
    return TorchFile(path, arrays, options, content)


def write(path: str, content: dict[str, Any]) -> None:
    """Writes a checkpoint; arrays in `content["model"]` become tensors."""
    torch = import_torch()
    model = {name: torch.from_numpy(array) for name, array in content["model"].items()}
    torch.save(content | {"model": model}, path)


def import_torch():
    """The module `torch`.

    Raises:
        RunError: if it is not installed.
    """
    try:
        import torch
    except ModuleNotFoundError as error:
        raise RunError(
            "PyTorch is needed for its files and is not installed; install it with `pip install torch`"
        ) from error
    return torch


def _load(path: str) -> Any:
    torch = import_torch()
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


def _arrays(path: str, weights: dict) -> dict[str, np.ndarray]:
    torch = import_torch()
    arrays = {}
    for name, tensor in weights.items():
        if not isinstance(tensor, torch.Tensor):
            continue
        try:
            # NumPy has no bfloat16; the other way only the width changes.
            value = tensor.float() if tensor.is_floating_point() else tensor
            arrays[str(name).removeprefix("module.")] = value.numpy()
        except (RuntimeError, TypeError) as error:
            raise RunError(
                f"--checkpoint={path}: {name} cannot be read: {first_line(error)}"
            ) from error
    return arrays
