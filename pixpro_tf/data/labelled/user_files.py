"""Files that users write: lists of classes and labels, and the names of datasets that consist of their files."""

import os

from pixpro_tf.errors import RunError

# Prefixes of datasets that are files of the user's own, with masks or without.
OF_OWN_FILES = ("folder:", "zip:", "tfrecord:", "voc:")

# Folders in which the images of labels are looked for, as seen from that of a COCO file, and from a folder of VOC files.
BESIDE_COCO = ("", "images", "../images")
BESIDE_VOC = ("", "../JPEGImages", "../images")


def images_of_yolo(path: str) -> str:
    """Returns the folder of the images of YOLO files: `images` instead of the last `labels` in the path, or the same folder."""
    parts = os.path.abspath(path).split(os.sep)
    if "labels" in parts:
        place = len(parts) - 1 - parts[::-1].index("labels")
        beside = os.sep.join([*parts[:place], "images", *parts[place + 1 :]])
        if os.path.isdir(beside):
            return beside
    return path


def files_in(folder: str, suffix: str) -> list[str]:
    """Returns the paths of the files in a folder with a suffix, in upper or lower case, without hidden ones, in alphabetical order."""
    return [
        os.path.join(folder, name)
        for name in sorted(os.listdir(folder))
        if name.lower().endswith(suffix) and not name.startswith(".")
    ]


def read_text(path: str) -> str:
    """Returns the content of a text file.

    Raises:
        RunError: if the file cannot be read or is not UTF-8, with or without a byte order mark.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            return file.read()
    except UnicodeDecodeError as error:
        raise RunError(f"{path} is not UTF-8; save it in that encoding") from error
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from error


def read_lines(path: str) -> list[str]:
    """Returns the lines of a text file that are not empty, without their ends; raises `RunError` as `read_text` does."""
    return [line.strip() for line in read_text(path).splitlines() if line.strip()]
