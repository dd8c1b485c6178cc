"""Folder in which an interrupted evaluation keeps what it has done; the same command continues from there."""

import contextlib
import dataclasses
import glob
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from pixpro_tf._version import __version__
from pixpro_tf.cli.outputs import in_use, locked
from pixpro_tf.errors import ConfigError, RunError, why_unwritable
from pixpro_tf.storage.checkpoint_files import INCOMPLETE, write_atomically

_DESCRIPTION, _IMAGES, _LOCK = "evaluation.json", "images.json", "lock"


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
        except (OSError, tf.errors.OpError) as error:
            raise RunError(
                f"--output={settings.output} cannot be written: {why_unwritable(error)}"
            ) from error
        try:
            yield folder
        except BaseException:
            if set(os.listdir(folder)) - {_DESCRIPTION, _IMAGES, _LOCK}:
                print(f"Finished parts are in {folder}; run the same command again to continue")
            else:
                _remove(folder, stack)
                _remove_empty(made, parent)
            raise
        _remove(folder, stack)


def _remove(folder: str, lock: contextlib.ExitStack) -> None:
    """Removes the folder after its lock has been released: network file systems keep a file that is open, and with it the folder."""
    # No other command can begin in it meanwhile.
    unnamed = f"{folder}.{uuid.uuid4().hex}"
    os.rename(folder, unnamed)
    lock.close()
    shutil.rmtree(unnamed)


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
        _check_same(path, description)
    elif os.path.isdir(folder) and not all(map(_is_begun, os.listdir(folder))):
        raise ConfigError(
            f"{folder} already exists but was not created by this command, which keeps incomplete output there; "
            "rename it, or use another --output"
        )
    else:
        os.makedirs(folder, exist_ok=True)
        write_atomically(path, description)
    return made


def _is_begun(name: str) -> bool:
    """Returns whether a file is left by a command that ended before it had described itself."""
    return name == _LOCK or name.endswith(INCOMPLETE)


def check_images(folder: str, paths: Sequence[str]) -> None:
    """Compares the image files of labels, whose places only their reader knows, with those that an interrupted evaluation used.

    Args:
        folder: folder of the evaluation, from `unfinished`; empty does nothing.
        paths: paths of the images.

    Raises:
        ConfigError: if they are other files, or have changed.
    """
    if not folder:
        return
    path, digest = os.path.join(folder, _IMAGES), json.dumps(_digest(paths))
    if os.path.isfile(path):
        _check_same(path, digest)
    else:
        write_atomically(path, digest)


def _check_same(path: str, content: str) -> None:
    with open(path) as file:
        if file.read() != content:
            raise ConfigError(
                f"{os.path.dirname(path)} contains an unfinished evaluation with other flags, or of backbones, labels or images that have "
                "changed since; repeat the command that created it, or delete the folder"
            )


def _described(settings: Any, inputs: Sequence[str]) -> str:
    flags = dataclasses.asdict(settings)
    del flags["overwrite"]
    contents = {path: _state_of(path) for path in inputs}
    return json.dumps({"version": __version__, "flags": flags, "contents": contents})


def _state_of(path: str) -> str | None:
    """Returns a digest of the names, sizes and times of the local files that a path stands for; None without any."""
    path = os.path.expanduser(path)
    try:
        files = _files_of(path) or _files_of(os.path.expanduser(path.partition(":")[2]))
        return _digest(files) if files else None
    except OSError as error:
        raise RunError(f"{error.filename} cannot be read: {error.strerror}") from error


def _digest(files: Sequence[str]) -> str:
    entries = [(file, _stat(file)) for file in files]
    lines = sorted(f"{file} {found.st_size} {found.st_mtime_ns}" for file, found in entries)
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()


def _stat(file: str) -> os.stat_result:
    try:
        return os.stat(file)
    except FileNotFoundError:
        # A link that leads nowhere.
        return os.lstat(file)


def _files_of(path: str) -> list[str]:
    """Returns the files of a run, export, dataset or folder of labels, or the files that a pattern or the name of a checkpoint stands for."""
    if os.path.isfile(path):
        return [path]
    if not os.path.isdir(path):
        return glob.glob(path) or glob.glob(f"{glob.escape(path)}.*") if path else []
    parts = [os.path.join(path, part) for part in ("checkpoints", "variables")]
    if any(map(os.path.isdir, parts)):
        folders = [path, *filter(os.path.isdir, parts)]
        return [each.path for folder in folders for each in os.scandir(folder) if each.is_file()]
    found: list[str] = []
    seen: set[str] = set()
    for folder, inner, names in os.walk(path, followlinks=True, onerror=_raise):
        # Links may lead back to a folder above.
        if (place := os.path.realpath(folder)) in seen:
            inner.clear()
            continue
        seen.add(place)
        # The results of evaluations may be inside what they evaluate.
        inner[:] = [name for name in inner if not name.startswith("partial_")]
        if "results.json" in names:
            inner.clear()
        else:
            found += [os.path.join(folder, name) for name in names]
    return found


def _raise(error: OSError) -> None:
    raise error
