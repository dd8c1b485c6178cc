"""TF Hub-style handles of SavedModels: a folder, a .tar.gz file, a gs:// path or an https:// address."""

import contextlib
import gzip
import os
import tarfile
import tempfile
from collections.abc import Iterator

from pixpro_tf.data import limits
from pixpro_tf.errors import RunError, first_line, why_unusable
from pixpro_tf.pretrained import downloads

# Number of bytes of an archive that are unpacked at once to check them.
_CHUNK = 2**20


def is_hub_address(handle: str) -> bool:
    """Returns whether a handle is a web address, which TensorFlow's file systems cannot read."""
    return handle.startswith(("http://", "https://"))


def is_archive(path: str) -> bool:
    """Returns whether a path is that of an archive of a SavedModel, judging by its suffix."""
    return path.endswith((".tar.gz", ".tgz"))


@contextlib.contextmanager
def temporary_folder() -> Iterator[str]:
    """Yields a temporary folder that TensorFlow can read.

    Raises:
        RunError: if TensorFlow cannot use the path of the machine's temporary folder.
    """
    _refuse_unusable("TMPDIR", tempfile.gettempdir())
    with tempfile.TemporaryDirectory() as folder:
        yield folder


def _refuse_unusable(variable: str, path: str) -> None:
    if why := why_unusable(path):
        raise RunError(f"{variable}={path} {why}; set {variable} to another folder")


@contextlib.contextmanager
def local_copy(handle: str) -> Iterator[str]:
    """Yields the folder of a SavedModel, in a location that TensorFlow can read.

    Downloads are kept in `TFHUB_CACHE_DIR`, as in TF Hub; a local archive is unpacked for the duration of the block only.

    Raises:
        RunError: if the handle does not exist, or its archive cannot be unpacked.
    """
    path = os.path.expanduser(handle)
    with contextlib.ExitStack() as stack:
        try:
            folder = _unpacked(path, stack) if _is_local_archive(path) else _resolved(path)
        except Exception as error:
            # A handle can fail in its file system, in HTTP or in its archive, each with different exceptions.
            raise RunError(
                f"{handle} is not a run folder, a checkpoint, or a SavedModel or TF Hub handle that can be read: "
                f"{first_line(error)}"
            ) from error
        yield folder


def _is_local_archive(path: str) -> bool:
    # TF Hub itself unpacks only what it downloads.
    return is_archive(path) and "://" not in path and not os.path.isdir(path)


def _unpacked(path: str, stack: contextlib.ExitStack) -> str:
    if not hasattr(tarfile, "data_filter"):
        raise RunError(
            "this version of Python cannot unpack archives safely; use 3.10.12, 3.11.4 or a newer one, or unpack it yourself"
        )
    folder = stack.enter_context(temporary_folder())
    _check_archive(path)
    with tarfile.open(path) as archive:
        archive.extractall(folder, filter="data")
    return folder


def _check_archive(path: str) -> None:
    """Unpacks an archive without keeping anything, which checks its checksum and its size."""
    limit = limits.current().max_download_gigabytes
    size = 0
    with gzip.open(path) as file:
        while part := file.read(_CHUNK):
            size += len(part)
            if size > limit * 10**9:
                raise RunError(
                    f"unpacked, it is larger than --max_download_gigabytes={limit} allows"
                )


def _resolved(path: str) -> str:
    import tensorflow as tf
    import tensorflow_hub as hub

    if is_hub_address(path):
        _refuse_unusable(*downloads.cache_folder())
        downloads.wait_for_others(path)
    with downloads.limited(path):
        folder = hub.resolve(path)
    if not tf.io.gfile.isdir(folder):
        raise RunError("the folder does not exist")
    return folder
