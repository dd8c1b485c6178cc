"""Checkpoint files of a folder. The files decide which checkpoints exist, not the list that TensorFlow writes beside them."""

import contextlib
import functools
import os
import re
from collections.abc import Iterator

import tensorflow as tf

from pixpro_tf.errors import RunError, first_line, why_unusable
from pixpro_tf.storage.hub_handles import is_hub_address

# Errors that TensorFlow raises for a checkpoint that is damaged or has other contents; IndexError is raised for a truncated one.
UNREADABLE = (tf.errors.OpError, ValueError, AssertionError, IndexError)
KEPT = "kept"
_STEP = "optimizer/_iterations/.ATTRIBUTES/VARIABLE_VALUE"
# Name of a checkpoint; the names of its files have suffixes in addition.
NAME = r"(?:step|imported)-\d+"
INCOMPLETE = ".writing"
SUFFIX = r"(?:index|data-\d{5}-of-\d{5})"
_FILE = re.compile(rf"({NAME})\.{SUFFIX}")


def checkpoints_in(folder: str) -> list[str]:
    """Returns the paths of a folder's checkpoints, newest first, including those that are kept permanently."""
    found = {
        checkpoint for path, checkpoint in _checkpoint_files(folder) if path.endswith(".index")
    }

    def age(checkpoint: str) -> tuple[int, bool]:
        is_kept = os.path.basename(os.path.dirname(checkpoint)) == KEPT
        return _number(checkpoint), not is_kept

    return sorted(found, key=age, reverse=True)


def _number(checkpoint: str) -> int:
    return int(checkpoint.rpartition("-")[2])


def checkpoints_beside(checkpoint: str) -> list[str]:
    """Returns the paths of the other checkpoints of the folder that contains a checkpoint, newest first."""
    folder = os.path.dirname(checkpoint)
    if os.path.basename(folder) == KEPT:
        folder = os.path.dirname(folder)
    return [path for path in checkpoints_in(folder) if path != checkpoint]


def holds_any(folder: str) -> bool:
    """Returns whether a folder contains a checkpoint, or a leftover file of one."""
    return any(True for _ in _checkpoint_files(folder))


def left_over_files(folder: str) -> list[str]:
    """Returns the paths of checkpoint files that cannot be used because the index of their checkpoint is missing."""
    whole = set(checkpoints_in(folder))
    return [path for path, checkpoint in _checkpoint_files(folder) if checkpoint not in whole]


def _checkpoint_files(folder: str) -> Iterator[tuple[str, str]]:
    """Yields the path of each checkpoint file in a folder, and the checkpoint that it belongs to."""
    for part in (folder, os.path.join(folder, KEPT)):
        for name in _names_in(part):
            if match := _FILE.fullmatch(name):
                yield os.path.join(part, name), os.path.join(part, match[1])


def _files_of(checkpoint: str) -> list[str]:
    """Returns the paths of a checkpoint's files, the index first."""
    folder = os.path.dirname(checkpoint)
    files = [path for path, of in _checkpoint_files(folder) if of == checkpoint]
    return sorted(files, key=lambda path: not path.endswith(".index"))


def damage_of(checkpoint: str) -> str | None:
    """Returns the reason why a checkpoint cannot be read; None if it can be. Reads every value and checks its checksum."""
    try:
        reader = tf.train.load_checkpoint(checkpoint)
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    except UNREADABLE as error:
        return first_line(error)
    return None


def newest_readable(folder: str) -> tuple[str | None, dict[str, str]]:
    """Returns the newest checkpoint of a folder that can be read, or None, and the reason for each newer one that cannot."""
    damaged: dict[str, str] = {}
    for path in checkpoints_in(folder):
        reason = damage_of(path)
        if reason is None:
            return path, damaged
        damaged[path] = reason
    return None, damaged


def delete(checkpoint: str) -> None:
    """Deletes a checkpoint's files, the index first: an interrupted deletion leaves no checkpoint rather than half of one."""
    for path in _files_of(checkpoint):
        tf.io.gfile.remove(path)


def copy(checkpoint: str, to: str) -> None:
    """Copies a checkpoint; each file appears complete, the index last.

    Args:
        checkpoint: path of the checkpoint.
        to: path of the copy, which is replaced if it exists.
    """
    files = {path: f"{to}{path.removeprefix(checkpoint)}" for path in _files_of(checkpoint)}
    if not files:
        raise FileNotFoundError(f"{checkpoint} has no files")
    for path, target in files.items():
        tf.io.gfile.copy(path, f"{target}{INCOMPLETE}", overwrite=True)
        _flush(f"{target}{INCOMPLETE}")
    for target in reversed(files.values()):
        tf.io.gfile.rename(f"{target}{INCOMPLETE}", target, overwrite=True)
    _flush(os.path.dirname(to))


def delete_incomplete_files(folder: str) -> None:
    """Deletes what interrupted calls of `copy` have left in a folder of checkpoints."""
    for part in (folder, os.path.join(folder, KEPT)):
        for name in _names_in(part):
            if name.endswith(INCOMPLETE) and _FILE.fullmatch(name.removesuffix(INCOMPLETE)):
                tf.io.gfile.remove(os.path.join(part, name))


def sync(checkpoint: str) -> None:
    """Flushes a checkpoint's files to disk before anything relies on them.

    Does nothing for remote file systems (`gs://` and the like), which are responsible for this themselves.
    """
    for path in (*_files_of(checkpoint), os.path.dirname(checkpoint)):
        _flush(path)


def _flush(path: str) -> None:
    if "://" in path:
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def list_for_tensorflow(folder: str, checkpoints: list[str]) -> None:
    """Writes the list with which `tf.train.latest_checkpoint` finds the newest checkpoint of a folder.

    Args:
        folder: folder of the checkpoints.
        checkpoints: paths of the checkpoints, oldest first.
    """
    names = [os.path.basename(path) for path in checkpoints]
    lines = [f'model_checkpoint_path: "{names[-1]}"']
    lines += [f'all_model_checkpoint_paths: "{name}"' for name in names]
    write_atomically(os.path.join(folder, "checkpoint"), "\n".join(lines) + "\n")


def write_atomically(path: str, text: str) -> None:
    """Writes a file atomically: it appears complete or not at all."""
    with written_atomically(path) as temporary, tf.io.gfile.GFile(temporary, "w") as file:
        file.write(text)


@contextlib.contextmanager
def written_atomically(path: str) -> Iterator[str]:
    """Yields the path of a file to write, which replaces the one at `path` when the block succeeds."""
    temporary = f"{path}{INCOMPLETE}"
    yield temporary
    # Otherwise a power cut can leave an empty file under the name.
    _flush(temporary)
    tf.io.gfile.rename(temporary, path, overwrite=True)


def _names_in(folder: str) -> list[str]:
    try:
        return tf.io.gfile.listdir(folder)
    except tf.errors.NotFoundError:
        return []
    except tf.errors.OpError as error:
        # A folder that may not be read can contain a run.
        raise RunError(f"{folder} cannot be read: {first_line(error)}") from error


def find_checkpoint(path: str) -> str | None:
    """Finds the checkpoint that a path refers to.

    Args:
        path: path of a run folder or of a folder of checkpoints, which stand for their newest checkpoint, or of a checkpoint.

    Returns:
        The path of the checkpoint; None if there is none.

    Raises:
        RunError: if the file system cannot be reached.
    """
    if is_hub_address(path):
        return None
    path = located(path)
    with reached(path):
        for folder in (os.path.join(path, "checkpoints"), path):
            if found := checkpoints_in(folder):
                _mention_newer_remains(folder, found[0])
                return found[0]
        # Checkpoints of other programs have other names. The file that names the latest one may be something else, or empty.
        with contextlib.suppress(ValueError):
            if latest := tf.train.latest_checkpoint(path):
                return latest
        prefix = re.sub(rf"\.{SUFFIX}$", "", path)
        return prefix if tf.io.gfile.exists(f"{prefix}.index") else None


def _mention_newer_remains(folder: str, checkpoint: str) -> None:
    """Says so if the newest checkpoint of a folder is older than one that is incomplete: its writing was interrupted, or its index is lost."""
    for file in left_over_files(folder):
        newer = os.path.splitext(file)[0]
        if _number(newer) > _number(checkpoint):
            _say_once(f"{newer} is incomplete; using {checkpoint}")


@functools.cache
def _say_once(line: str) -> None:
    print(line)


def located(path: str) -> str:
    """Returns a path without `~`, `.`, `..` and repeated slashes, so that the folders above it can be seen; links are kept, unless `..` follows one."""
    if "://" in path:
        return path.rstrip("/")
    path = os.path.expanduser(path)
    return os.path.realpath(path) if ".." in path.split("/") else os.path.abspath(path)


@contextlib.contextmanager
def reached(path: str) -> Iterator[None]:
    """Raises `RunError` for a path that TensorFlow cannot use, and for a file system that does not exist or does not respond."""
    if reason := why_unusable(os.path.expanduser(path)):
        raise RunError(f"{path} {reason}; rename the folder")
    try:
        yield
    except tf.errors.OpError as error:
        raise RunError(f"{path} cannot be read: {first_line(error)}") from error


def step_of(checkpoint: str) -> int:
    """Returns the step at which a run's checkpoint was saved.

    Raises:
        RunError: if the checkpoint cannot be read.
    """
    try:
        return int(tf.train.load_variable(checkpoint, _STEP))
    except UNREADABLE as error:
        raise RunError(f"{checkpoint} cannot be read: {first_line(error)}") from error
