"""The files of a folder's checkpoints. They decide what there is; the list that TensorFlow keeps beside them does not."""

import contextlib
import os
import re
from collections.abc import Iterator

import tensorflow as tf

from pixpro_tf.errors import RunError, first_line
from pixpro_tf.storage.hub_handles import is_hub_address

# What TensorFlow raises for a checkpoint that is damaged or holds something else; IndexError is of one that has been cut.
UNREADABLE = (tf.errors.OpError, ValueError, AssertionError, IndexError)
KEPT = "kept"
_STEP = "optimizer/_iterations/.ATTRIBUTES/VARIABLE_VALUE"
# Of a checkpoint; its files have suffixes beside.
NAME = r"(?:step|imported)-\d+"
_FILE = re.compile(rf"({NAME})\.(index|data-\d{{5}}-of-\d{{5}})")


def checkpoints_in(folder: str) -> list[str]:
    """Paths of a folder's checkpoints, those that it keeps for good included; the newest first."""
    found = {
        checkpoint for path, checkpoint in _checkpoint_files(folder) if path.endswith(".index")
    }

    def age(checkpoint: str) -> tuple[int, bool]:
        is_kept = os.path.basename(os.path.dirname(checkpoint)) == KEPT
        return int(checkpoint.rpartition("-")[2]), not is_kept

    return sorted(found, key=age, reverse=True)


def holds_any(folder: str) -> bool:
    """Whether there is a checkpoint in a folder, or a file that is left of one."""
    return any(True for _ in _checkpoint_files(folder))


def left_over_files(folder: str) -> list[str]:
    """Paths of files that belong to no checkpoint of a folder any more, for its index is missing."""
    whole = set(checkpoints_in(folder))
    return [path for path, checkpoint in _checkpoint_files(folder) if checkpoint not in whole]


def _checkpoint_files(folder: str) -> Iterator[tuple[str, str]]:
    """Paths of the files of a folder's checkpoints, and the checkpoint that each is of."""
    for part in (folder, os.path.join(folder, KEPT)):
        for name in _names_in(part):
            if match := _FILE.fullmatch(name):
                yield os.path.join(part, name), os.path.join(part, match[1])


def _files_of(checkpoint: str) -> list[str]:
    """Paths of a checkpoint's files, the index first."""
    folder = os.path.dirname(checkpoint)
    files = [path for path, of in _checkpoint_files(folder) if of == checkpoint]
    return sorted(files, key=lambda path: not path.endswith(".index"))


def damage_of(checkpoint: str) -> str | None:
    """Why a checkpoint cannot be read, in a line; None if it can. Reads it whole: each value has a checksum."""
    try:
        reader = tf.train.load_checkpoint(checkpoint)
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    except UNREADABLE as error:
        return first_line(error)
    return None


def delete(checkpoint: str) -> None:
    """Deletes a checkpoint's files, the index first: an end in between leaves no checkpoint, rather than half of one."""
    for path in _files_of(checkpoint):
        tf.io.gfile.remove(path)


def sync(checkpoint: str) -> None:
    """Has the disk hold a checkpoint's files before anything relies on them; of a file system behind an address, that is its own work."""
    if "://" in checkpoint:
        return
    for path in (*_files_of(checkpoint), os.path.dirname(checkpoint)):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def list_for_tensorflow(folder: str, checkpoints: list[str]) -> None:
    """Writes the list of a folder's checkpoints, the oldest first, by which `tf.train.latest_checkpoint` finds the newest."""
    names = [os.path.basename(path) for path in checkpoints]
    lines = [f'model_checkpoint_path: "{names[-1]}"']
    lines += [f'all_model_checkpoint_paths: "{name}"' for name in names]
    write_atomically(os.path.join(folder, "checkpoint"), "\n".join(lines) + "\n")


def write_atomically(path: str, text: str) -> None:
    """Writes a file that is there as a whole or not at all."""
    temporary = f"{path}.writing"
    with tf.io.gfile.GFile(temporary, "w") as file:
        file.write(text)
    tf.io.gfile.rename(temporary, path, overwrite=True)


def _names_in(folder: str) -> list[str]:
    try:
        return tf.io.gfile.listdir(folder)
    except tf.errors.NotFoundError:
        return []


def find_checkpoint(path: str) -> str | None:
    """The newest checkpoint of a run's folder, of a folder of checkpoints, or the checkpoint itself; None if there is none.

    Raises:
        RunError: if the file system cannot be reached.
    """
    if is_hub_address(path):
        return None
    path = os.path.expanduser(path)
    with reached(path):
        for folder in (os.path.join(path, "checkpoints"), path):
            if found := checkpoints_in(folder):
                return found[0]
        # Others name theirs otherwise.
        if latest := tf.train.latest_checkpoint(path):
            return latest
        prefix = path.removesuffix(".index")
        return prefix if tf.io.gfile.exists(f"{prefix}.index") else None


@contextlib.contextmanager
def reached(path: str) -> Iterator[None]:
    """Turns the error of a file system that is not there, or does not answer, into a line."""
    try:
        yield
    except tf.errors.OpError as error:
        raise RunError(f"{path} cannot be read: {first_line(error)}") from error


def step_of(checkpoint: str) -> int:
    """The step of a run's checkpoint.

    Raises:
        RunError: if it cannot be read.
    """
    try:
        return int(tf.train.load_variable(checkpoint, _STEP))
    except UNREADABLE as error:
        raise RunError(f"{checkpoint} cannot be read: {first_line(error)}") from error
