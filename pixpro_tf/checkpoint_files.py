"""The files of a folder's checkpoints. They decide what there is; the list that TensorFlow keeps beside them does not."""

import os
import re

import tensorflow as tf

from pixpro_tf.errors import first_line

# What TensorFlow raises for a checkpoint that is damaged or holds something else; IndexError is of one that has been cut.
UNREADABLE = (tf.errors.OpError, ValueError, AssertionError, IndexError)
KEPT = "kept"
_FILE = re.compile(r"((?:step|imported)-(\d+))\.(index|data-\d{5}-of-\d{5})")


def checkpoints_in(folder: str) -> list[str]:
    """Paths of a folder's checkpoints, those that it keeps for good included; the newest first."""
    found = []
    for part in (folder, os.path.join(folder, KEPT)):
        for name in _files(part):
            match = _FILE.fullmatch(name)
            if match and match[3] == "index":
                found.append((int(match[2]), part == folder, os.path.join(part, match[1])))
    return [path for *_, path in sorted(found, reverse=True)]


def left_over_files(folder: str) -> list[str]:
    """Paths of files that belong to no checkpoint of a folder any more, for its index is missing."""
    whole = {f"{path}." for path in checkpoints_in(folder)}
    return [
        path
        for part in (folder, os.path.join(folder, KEPT))
        for path in (os.path.join(part, name) for name in _files(part) if _FILE.fullmatch(name))
        if path[: path.rindex(".") + 1] not in whole
    ]


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
    folder, name = os.path.split(checkpoint)
    files = {
        file for file in _files(folder) if file.startswith(f"{name}.") and _FILE.fullmatch(file)
    }
    for file in sorted(files, key=lambda file: file != f"{name}.index"):
        tf.io.gfile.remove(os.path.join(folder, file))


def sync(checkpoint: str) -> None:
    """Has the disk hold a checkpoint's files before anything relies on them; of a file system behind an address, that is its own work."""
    if "://" in checkpoint:
        return
    folder, name = os.path.split(checkpoint)
    paths = [os.path.join(folder, file) for file in _files(folder) if file.startswith(f"{name}.")]
    for path in (*paths, folder):
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


def _files(folder: str) -> list[str]:
    try:
        return tf.io.gfile.listdir(folder)
    except tf.errors.NotFoundError:
        return []
