"""TF Hub-style handles: a folder, a .tar.gz, a gs:// path or an https:// address of a SavedModel."""

import contextlib
import os
import tarfile
import tempfile
from collections.abc import Iterator

from pixpro_tf.errors import RunError, first_line


def is_hub_address(handle: str) -> bool:
    """Whether a handle names a place on the web, which no file system of TensorFlow's reads."""
    return handle.startswith(("http://", "https://"))


def is_archive(path: str) -> bool:
    """Whether a path is of one file that holds a SavedModel, by its suffix."""
    return path.endswith((".tar.gz", ".tgz"))


@contextlib.contextmanager
def local_copy(handle: str) -> Iterator[str]:
    """The folder of a SavedModel, where TensorFlow can read it.

    What comes from an address is kept in `TFHUB_CACHE_DIR`, as TF Hub does; a local archive is unpacked for the block only.

    Raises:
        RunError: if nothing is there, or it is no archive that can be unpacked.
    """
    path = os.path.expanduser(handle)
    with contextlib.ExitStack() as stack:
        try:
            folder = _unpacked(path, stack) if _is_local_archive(path) else _resolved(path)
        except Exception as error:
            # A handle can fail in its file system, in HTTP and in an archive, each with exceptions of its own.
            raise RunError(
                f"{handle} is neither a run's folder, a checkpoint, nor a SavedModel or hub handle that can be read: "
                f"{first_line(error)}"
            ) from error
        yield folder


def _is_local_archive(path: str) -> bool:
    # TF Hub unpacks what comes from an address, and nothing else.
    return is_archive(path) and "://" not in path and not os.path.isdir(path)


def _unpacked(path: str, stack: contextlib.ExitStack) -> str:
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    with tarfile.open(path) as archive:
        archive.extractall(folder, filter="data")
    return folder


def _resolved(path: str) -> str:
    import tensorflow as tf
    import tensorflow_hub as hub

    folder = hub.resolve(path)
    if not tf.io.gfile.isdir(folder):
        raise RunError("there is no such folder")
    return folder
