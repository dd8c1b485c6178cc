"""Folder in which an interrupted evaluation keeps what it has done; the same command continues from there."""

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

from pixpro_tf.cli.outputs import in_use, locked
from pixpro_tf.errors import ConfigError, RunError

_DESCRIPTION, _LOCK = "evaluation.json", "lock"


@contextlib.contextmanager
def unfinished(settings: Any, inputs: Sequence[str]) -> Iterator[str]:
    """Yields the folder `partial_NAME` beside the output `NAME`; it is removed when the block succeeds.

    Args:
        settings: flags of the command. A folder that was left by other flags is not used.
        inputs: paths that the evaluation reads; a folder that was left when they had other contents is not used.

    Yields:
        Path of the folder; empty without an output.

    Raises:
        ConfigError: if the folder exists and was left by something else, or another command is using it.
        RunError: if an input cannot be read, or the folder cannot be written.
    """
    if not settings.output:
        yield ""
        return
    parent, name = os.path.split(os.path.abspath(os.path.expanduser(settings.output)))
    folder = os.path.join(parent, f"partial_{name}")
    description = _described(settings, inputs)
    with contextlib.ExitStack() as stack:
        try:
            made = _begin(folder, description)
            stack.enter_context(locked(os.path.join(folder, _LOCK), in_use(folder)))
        except OSError as error:
            raise RunError(
                f"--output={settings.output} cannot be written: {error.strerror}; use another path"
            ) from error
        try:
            yield folder
        except BaseException:
            if set(os.listdir(folder)) - {_DESCRIPTION, _LOCK}:
                print(f"Finished parts are in {folder}; run the same command again to continue")
            else:
                shutil.rmtree(folder)
                _remove_empty(made, parent)
            raise
        shutil.rmtree(folder)


def _remove_empty(first: str, last: str) -> None:
    """Removes folders that were created for the output, from `last` up to `first`, unless another command has put something there."""
    while len(last) >= len(first):
        try:
            os.rmdir(last)
        except OSError:
            return
        last = os.path.dirname(last)


def _begin(folder: str, description: str) -> str:
    """Creates the folder, or checks that an existing one was left by the same command.

    Returns:
        The first folder on its path that has been created, or the folder itself.

    Raises:
        ConfigError: if the folder was left by something else.
        OSError: if it cannot be written.
    """
    made = folder
    while not os.path.lexists(os.path.dirname(made)):
        made = os.path.dirname(made)
    path = os.path.join(folder, _DESCRIPTION)
    if os.path.isfile(path):
        with open(path) as file:
            if file.read() != description:
                raise ConfigError(
                    f"{folder} contains an unfinished evaluation with other flags, or of backbones or labels that have changed since; "
                    "repeat the command that created it, or delete the folder"
                )
    elif os.path.isdir(folder) and os.listdir(folder):
        raise ConfigError(
            f"{folder} already exists but was not created by this command, which keeps incomplete output there; "
            "rename it, or use another --output"
        )
    else:
        os.makedirs(folder, exist_ok=True)
        with open(path, "w") as file:
            file.write(description)
    return made


def _described(settings: Any, inputs: Sequence[str]) -> str:
    flags = dataclasses.asdict(settings)
    del flags["overwrite"]
    return json.dumps({"flags": flags, "changed": {path: _changed(path) for path in inputs}})


def _changed(path: str) -> float | None:
    """Returns when a local file, or the newest file directly in a folder or its folders, was changed; None for anything else."""
    path = os.path.expanduser(path.partition(":")[2] or path)
    if not os.path.exists(path):
        return None
    entries = [path]
    try:
        for folder in (path, os.path.join(path, "checkpoints"), os.path.join(path, "variables")):
            if os.path.isdir(folder):
                entries.append(folder)
                entries += [entry.path for entry in os.scandir(folder) if entry.is_file()]
        return max(os.stat(entry).st_mtime for entry in entries)
    except OSError as error:
        raise RunError(f"{error.filename} cannot be read: {error.strerror}") from error
