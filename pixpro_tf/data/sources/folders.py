"""Images stored as files in a folder."""

import errno
import importlib.util
import os
import stat
from collections.abc import Iterable
from typing import NoReturn

import tensorflow as tf

from pixpro_tf.data import limits
from pixpro_tf.data.images import is_hidden, is_image_name, passed_over, suffixes_of
from pixpro_tf.data.sources.listed import ListedSource, Record
from pixpro_tf.data.views.channels import RGB, Channels
from pixpro_tf.errors import RunError, first_line

PHOTOGRAPHS = "photographs"
# Photographs in the scikit-image package that show things and stuff, not cells, stars or printed text.
_PHOTOGRAPHS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "chelsea.png",
    "clock_motion.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "motorcycle_left.png",
    "rocket.jpg",
)


class FolderSource(ListedSource):
    """Images in a folder, at any depth.

    Image files are recognised by their suffix (`suffixes_of`, in upper or lower case). Links to files and folders are followed; each
    folder is read once. Files and folders whose names start with a dot are skipped.

    Args:
        path: local path, or a path in any file system that TensorFlow reads.
        files: names of the files, if they have been listed already.
        channels: channels of the images.

    Raises:
        RunError: if the folder contains no images, or if it or a folder in it cannot be read.
    """

    def __init__(
        self, path: str, files: Iterable[bytes] | None = None, channels: Channels = RGB
    ) -> None:
        self.path = path
        if files is None:
            files, self.passed_over = _list_images(path, suffixes_of(channels))
        self._files = list(files)
        if not self._files:
            raise RunError(
                f"folder:{path} contains no images; looked for {', '.join(suffixes_of(channels))} at any depth",
                of="dataset",
            )
        super().__init__(self._files, channels)

    def encoded(self, record: Record) -> tf.Tensor:
        """Returns the contents of the image file."""
        return tf.io.read_file(record["name"])

    def _names_in_dataset(self) -> list[bytes]:
        place = self._place()
        return [file.removeprefix(place) for file in self._files]

    def name_in_folder(self, name: bytes) -> bytes:
        """Returns the name of an image without the place of the folder."""
        return name.removeprefix(self._place())

    def _place(self) -> bytes:
        """What the names of all images begin with."""
        if "://" in self.path:
            return os.fsencode(self.path.rstrip("/") + "/")
        return os.fsencode(os.path.join(os.path.abspath(os.path.expanduser(self.path)), ""))

    def without(self, names: Iterable[bytes]) -> "FolderSource":
        """Returns the same source without the images of these names, which may lack the place of the folder."""
        place = self._place()
        left_out = {each for name in names for each in (name, place + name)}
        files = [file for file in self._files if file not in left_out]
        return FolderSource(self.path, files, self.channels)


def _list_images(path: str, suffixes: tuple[str, ...]) -> tuple[list[bytes], str]:
    """Lists the images, and returns the message about the other files."""

    def refuse(error: Exception) -> NoReturn:
        reason = error.strerror if isinstance(error, OSError) else first_line(error)
        where = getattr(error, "filename", None) or path
        raise RunError(f"folder:{path} cannot be read: {where}: {reason}", of="dataset")

    found: list[str] = []
    others: list[str] = []
    if "://" in path:
        try:
            found, others = _remote_files(path, suffixes)
        except tf.errors.OpError as error:
            refuse(error)
        return sorted(os.fsencode(file) for file in found), passed_over(others, suffixes)
    seen = set()
    # Paths are absolute, because other processes read the files, too.
    path = os.path.abspath(os.path.expanduser(path))
    for folder, subfolders, files in os.walk(path, followlinks=True, onerror=refuse):
        real = os.path.realpath(folder)
        if real in seen:
            # Otherwise a link to a parent folder would be followed forever.
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not is_hidden(name))
        found += [os.path.join(folder, file) for file in files if is_image_name(file, suffixes)]
        others += files
    images = []
    for file in found:
        mode = _mode_of(path, file)
        if mode is None:
            others.append(f"{file} (broken link)")
        elif stat.S_ISREG(mode):
            # Names are bytes, because the name of a file need not be valid in any encoding.
            images.append(os.fsencode(file))
    return sorted(images), passed_over(others, suffixes)


def _remote_files(path: str, suffixes: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Returns the paths of the images in remote storage, and the names of the other files.

    A name with the suffix of an image is that of a file: TensorFlow's own `walk` asks the storage about each of them, one after the other.
    """
    images: list[str] = []
    others: list[str] = []
    folders = [path]
    while folders:
        folder = folders.pop()
        for listed in tf.io.gfile.listdir(folder):
            # Some file systems mark folders.
            name = listed.rstrip("/")
            place = os.path.join(folder, name)
            if is_hidden(name):
                continue
            if is_image_name(listed, suffixes):
                images.append(place)
            elif listed != name or tf.io.gfile.isdir(place):
                folders.append(place)
            else:
                others.append(name)
    return images, others


def _mode_of(path: str, file: str) -> int | None:
    """Returns the mode of a file, None for a broken link; raises `RunError` if the file may not be read, or is too large to be an image."""
    try:
        status = os.stat(file)
        limits.check_bytes(status.st_size)
    except limits.TooLarge as error:
        raise RunError(f"folder:{path} cannot be read: {file}: {error}", of="dataset") from None
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):
            return None
        raise RunError(
            f"folder:{path} cannot be read: {file}: {error.strerror}", of="dataset"
        ) from None
    return status.st_mode


def photographs() -> FolderSource:
    """Opens the eleven photographs of `scikit-image`, which must be installed."""
    package = importlib.util.find_spec("skimage")
    if package is None or package.origin is None:
        raise RunError(
            f"{PHOTOGRAPHS} needs scikit-image; install it with `pip install scikit-image`",
            of="dataset",
        )
    folder = os.path.join(os.path.dirname(package.origin), "data")
    return FolderSource(folder, [os.fsencode(os.path.join(folder, name)) for name in _PHOTOGRAPHS])
