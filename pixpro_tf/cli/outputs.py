"""Output that appears completely or not at all, and never replaces existing files unasked."""

import contextlib
import dataclasses
import glob
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from pixpro_tf.cli import interruptions
from pixpro_tf.config.flag import flag_name
from pixpro_tf.data.labelled.user_files import BESIDE_COCO, BESIDE_VOC, images_of_yolo
from pixpro_tf.errors import ConfigError, RunError, first_line, is_of_full_disk

# Flags whose values are read: paths, some of them after a prefix such as `folder:`, or lists of paths.
_READ = {
    "from",
    "init_from",
    "checkpoint",
    "dataset",
    "images",
    "labels",
    "label_map",
    "evaluation_labels",
    "evaluation_images",
}
# Flags of folders in which an output may be, but which it must not replace.
_AROUND = {"data_dir", "cache_dir"}
# Flags of labels, beside which readers look for their images.
_LABELS = {"labels", "evaluation_labels"}


def refuse_existing(flag: str, path: str, overwrite: bool) -> None:
    """Rejects an output that already exists or cannot be written, before any work is done.

    Raises:
        ConfigError: if `path` exists and `overwrite` is false, if it is not a local path, or if it contains the working directory or the
            home folder.
    """
    if "://" in path:
        raise ConfigError(
            f"--{flag}={path} is not a local path; use a local path, and copy the output afterwards"
        )
    _refuse_surroundings(flag, path)
    if os.path.lexists(_absolute(path)) and not overwrite:
        raise ConfigError(f"--{flag}={path} already exists; use another path, or add --overwrite")


def check_output(source: str, output: str, overwrite: bool, *others: str) -> None:
    """Rejects an output that already exists, or that would replace what it is made from, before any work is done.

    Args:
        source: path or handle from which the output is made.
        output, overwrite: see `refuse_existing`.
        others: other paths that are read; empty ones do not count.

    Raises:
        ConfigError: if the output is rejected, with the reason.
    """
    refuse_existing("output", output, overwrite)
    for read in filter(None, (source, *others)):
        _refuse_overlap(output, read)


def check_settings(settings: Any) -> None:
    """Rejects the output of a command as `check_output` does, for everything that the command reads.

    Args:
        settings: flags of the command, of which one may be `output`.

    Raises:
        ConfigError: if the output is rejected, with the reason.
    """
    fields = {flag_name(field): field for field in dataclasses.fields(settings)}
    output = getattr(settings, "output", "")
    if not output or not hasattr(settings, "overwrite"):
        return
    if not (fields["output"].metadata.get("remote") and "://" in output):
        refuse_existing("output", output, settings.overwrite)
    for name in fields.keys() & _READ:
        value = getattr(settings, fields[name].name)
        for read in value if isinstance(value, tuple) else [value, *value.split(",")]:
            _refuse_overlap(output, read)
            for place in _places_of_images(read) if name in _LABELS and read else ():
                _refuse_replacing(output, place, os.path.normpath(place))
    for name in fields.keys() & _AROUND:
        if folder := getattr(settings, fields[name].name):
            _refuse_replacing(output, os.path.expanduser(folder), folder)


def _refuse_surroundings(flag: str, path: str) -> None:
    """Raises `ConfigError` if an output is a folder that nobody wants to replace, e.g. because a variable of the shell is empty."""
    made = os.path.realpath(_absolute(path))
    for folder, called in ((os.getcwd(), "working directory"), ("~", "home folder")):
        if _is_in(os.path.realpath(os.path.expanduser(folder)), made):
            raise ConfigError(
                f"--{flag}={path} is the {called} or contains it, and cannot be replaced; use another path"
            )


def _places_of_images(labels: str) -> list[str]:
    """Returns the folders beside labels in which their images may be."""
    path = os.path.expanduser(labels)
    folder = path if os.path.isdir(path) else os.path.dirname(path)
    around = {os.path.join(folder, each) for each in (*BESIDE_COCO, *BESIDE_VOC)}
    return [*sorted(around), images_of_yolo(folder)]


def _refuse_replacing(output: str, path: str, read: str) -> None:
    """Raises `ConfigError` if an output would replace a path, which the value `read` of a flag stands for."""
    if "://" in output or not os.path.lexists(path):
        return
    if _is_in(os.path.realpath(path), os.path.realpath(_absolute(output))):
        raise ConfigError(
            f"--output={output} would replace {read}, which this command reads; use another path"
        )


def _refuse_overlap(output: str, read: str) -> None:
    """Raises `ConfigError` if an output would replace what is read, or would become part of a folder of images."""
    if "://" in output or "://" in read:
        return
    made = os.path.realpath(os.path.expanduser(output))
    for path in _paths_of(read):
        _refuse_replacing(output, path, read)
        if _is_in(made, path) and (read.startswith("folder:") or os.path.lexists(made)):
            raise ConfigError(
                f"--output={output} is inside {read}, which this command reads; use another path"
            )


def _paths_of(read: str) -> list[str]:
    """Returns the existing local paths that the value of a flag names, e.g. `folder:PATH`, `random:keras_hub:PATH` or `tfrecord:GLOB`."""
    found, parts = [], read.split(":")
    for each in {":".join(parts[start:]) for start in range(len(parts))} - {""}:
        path = os.path.expanduser(each)
        # A checkpoint is named without the suffixes of its files.
        found += glob.glob(path) if read.startswith("tfrecord:") else [path, f"{path}.index"]
    return [os.path.realpath(path) for path in found if os.path.lexists(path)]


def _is_in(path: str, folder: str) -> bool:
    return os.path.commonpath([path, folder]) == folder


@contextlib.contextmanager
def atomic_output(path: str, overwrite: bool = False) -> Iterator[str]:
    """Yields a temporary path that is renamed to `path` when the block succeeds, and removed otherwise.

    Args:
        path: path of a file or folder; missing parent folders are created.
        overwrite: whether to replace an existing file or folder.

    Yields:
        Path inside an empty folder, which does not exist yet.

    Raises:
        ConfigError: if `path` exists and `overwrite` is false.
        RunError: if `path` cannot be written, e.g. for lack of space or permission.
    """
    refuse_existing("output", path, overwrite)
    absolute = _absolute(path)
    parent, name = os.path.split(absolute)
    # The temporary folder is on the same file system, and not in a parent folder that a failure would leave behind.
    above = parent
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    prefix = f".{name}."
    try:
        with tempfile.TemporaryDirectory(prefix=prefix, dir=above) as temporary:
            made = os.path.join(temporary, name)
            yield made
            os.makedirs(parent, exist_ok=True)
            if os.path.lexists(absolute):
                refuse_existing("output", path, overwrite)
                if os.path.isdir(absolute) and not os.path.isdir(made):
                    raise ConfigError(
                        f"--output={path} is a folder, which a file would replace; use another path"
                    )
                replace(absolute, made, os.path.join(temporary, f"{name}.replaced"))
            else:
                os.rename(made, absolute)
    except Exception as error:
        if not _is_about(error, os.path.join(above, prefix), absolute):
            raise
        reason = getattr(error, "strerror", None) or first_line(error)
        raise RunError(
            f"--output={path} cannot be written: {reason}; use another path, or free some space"
        ) from error


@contextlib.contextmanager
def locked(path: str, refusal: str) -> Iterator[None]:
    """Locks a local file against other processes of this machine, however this one ends.

    Args:
        path: path of the lock file; created if missing.
        refusal: message of the error.

    Raises:
        ConfigError: if another process has locked the file.
        OSError: if the file cannot be written.
    """
    # Only Unix has it; commands say so where it is missing.
    import fcntl

    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(refusal) from None
        except OSError:
            # Some network file systems have no locks.
            pass
        yield


def in_use(folder: str) -> str:
    """Message about a folder of unfinished output that another command has locked."""
    return f"{folder} is in use by another command; wait until it ends, or use another --output"


def write_texts(folder: str, texts: dict[str, str]) -> None:
    """Writes texts into files of a folder; `texts` is a dict from file names to contents."""
    for name, text in texts.items():
        # Names of the user's files may contain bytes that are not UTF-8.
        with open(
            os.path.join(folder, name), "w", encoding="utf-8", errors="surrogateescape"
        ) as file:
            file.write(text)


def replace(path: str, new: str, aside: str) -> None:
    """Replaces the file or folder at a path with a new one, and restores the old one if that fails.

    Args:
        path: path of the old file or folder.
        new: path of the new one.
        aside: path that the old one gets.
    """
    # Between the two, the old one is where the caller removes it.
    with interruptions.postponed():
        os.rename(path, aside)
        try:
            os.rename(new, path)
        except OSError:
            os.rename(aside, path)
            raise


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


def _is_about(error: Exception, temporary: str, output: str) -> bool:
    """Returns whether an error is one of writing an output, not one of something else that happened in the meantime.

    Args:
        error: error of the operating system, or of the file systems of TensorFlow, or any other.
        temporary: beginning of the paths of what is being written.
        output: path that it gets at the end.
    """
    if isinstance(error, OSError):
        # A failed write does not name its file.
        file = "" if error.filename is None else os.fsdecode(error.filename)
        return error.errno is not None and (file.startswith(temporary) or output.startswith(file))
    tensorflow = sys.modules.get("tensorflow")
    of_tensorflow = tensorflow is not None and isinstance(error, tensorflow.errors.OpError)
    return of_tensorflow and (temporary in str(error) or is_of_full_disk(error))
