"""Image files that labels name, perhaps with the folders of another system."""

import collections
import os
from collections.abc import Iterable, Sequence

from pixpro_tf.data.images import IMAGE_SUFFIXES

_SUFFIXES = (*IMAGE_SUFFIXES, *(suffix.upper() for suffix in IMAGE_SUFFIXES))


class ImageFiles:
    """Finds the images of one source of labels.

    An image that is not at its place is searched for by its name without folders, because tools write the folders of the system they ran
    on. Where two labels name images such as `x/1.jpg` and `y/1.jpg`, a file `1.jpg` could belong to either, so neither finds it.

    Args:
        names: names of all images of the source, as its labels write them.

    Examples:
        >>> import tempfile
        >>> from pixpro_tf.data.labelled.boxes.image_files import ImageFiles
        >>> folder = tempfile.mkdtemp()
        >>> for name in ("1.jpg", "2.jpg"):
        ...     open(f"{folder}/{name}", "w").close()
        >>> files = ImageFiles(["x/1.jpg", "y/1.jpg", "x/2.jpg"])
        >>> files.find("x/2.jpg", [folder]) == f"{folder}/2.jpg"
        True
        >>> files.find("x/1.jpg", [folder]) is None
        True
    """

    def __init__(self, names: Iterable[str]) -> None:
        distinct = {normalised(name) for name in names}
        self._count = collections.Counter(map(os.path.basename, distinct))

    def find(self, name: str, folders: Sequence[str], stem: str = "") -> str | None:
        """Returns the path of an image in the first of some folders that has it; None if none has.

        Args:
            name: name of the image, one of the names of the source.
            folders: folders to search.
            stem: name without a suffix to search for if the name is not found; empty for none.
        """
        name = normalised(name)
        base = os.path.basename(name)
        names = [name]
        if self._count[base] == 1:
            names.append(base)
        if stem:
            # A file that another label names belongs to that one.
            others = (stem + suffix for suffix in _SUFFIXES)
            names += [each for each in others if not self._count[each]]
        paths = (os.path.join(folder, each) for each in names for folder in folders)
        return next((path for path in paths if os.path.isfile(path)), None)


def normalised(name: str) -> str:
    """Returns the name of an image with slashes between its folders, and without spaces around it."""
    return name.strip().replace("\\", "/")
