"""Boxes of a folder of YOLO txt files: a line `class x y width height` for each object, relative to the image."""

import glob
import os

from pixpro_tf.data.images import is_image_name
from pixpro_tf.data.labelled.boxes.collecting import Collector, LabelledBoxes, RawObject
from pixpro_tf.errors import ConfigError, RunError, first_line

# Files with the names of the classes, in the folder of the labels or in one of the two above it.
_LISTS = ("classes.txt", "obj.names")
_SETTINGS = ("data.yaml", "dataset.yaml", "data.yml")


def read(path: str, images: str = "", classes: tuple[str, ...] = ()) -> LabelledBoxes:
    """Reads all txt files of a folder; see `boxes.read`. An image without a txt file has no objects."""
    names = classes or _class_names(path)
    collector = Collector(path, names)
    files = {
        os.path.splitext(os.path.basename(file))[0]: file
        for file in sorted(glob.glob(os.path.join(glob.escape(path), "*.txt")))
        if os.path.basename(file) not in _LISTS
    }
    folder = images or _images_of(path)
    pictures = {
        os.path.splitext(name)[0]: os.path.join(folder, name)
        for name in sorted(os.listdir(folder))
        if is_image_name(name)
    }
    for stem, picture in pictures.items():
        collector.add(picture, _objects(files[stem], names) if stem in files else [])
    for stem, file in files.items():
        if stem not in pictures:
            collector.problem("txt files without an image, left out", file)
    return collector.result()


def _images_of(path: str) -> str:
    """Returns the folder of the images: `images` instead of the last `labels` in the path, or the same folder."""
    parts = os.path.abspath(path).split(os.sep)
    if "labels" in parts:
        place = len(parts) - 1 - parts[::-1].index("labels")
        beside = os.sep.join([*parts[:place], "images", *parts[place + 1 :]])
        if os.path.isdir(beside):
            return beside
    return path


def _objects(file: str, names: tuple[str, ...]) -> list[RawObject]:
    with open(file, encoding="utf-8", errors="replace") as lines:
        return [_object(line.split(), names) for line in lines if line.strip()]


def _object(words: list[str], names: tuple[str, ...]) -> RawObject:
    number = words[0]
    known = number.isdigit() and int(number) < len(names)
    try:
        # A sixth word is the confidence of a prediction.
        x, y, width, height = map(float, words[1:5])
        box = [y - height / 2, x - width / 2, y + height / 2, x + width / 2]
    except ValueError:
        box = []
    return RawObject(names[int(number)] if known else number, box, relative=True)


def _class_names(path: str) -> tuple[str, ...]:
    above = os.path.abspath(path)
    for _ in range(3):
        for name in _LISTS:
            file = os.path.join(above, name)
            if os.path.isfile(file):
                with open(file, encoding="utf-8") as lines:
                    return tuple(line.strip() for line in lines if line.strip())
        for name in _SETTINGS:
            file = os.path.join(above, name)
            if os.path.isfile(file):
                return _names_in_settings(file)
        above = os.path.dirname(above)
    raise ConfigError(
        f"{path} does not tell the names of its classes; pass --classes=cat,dog in the order of their numbers, or add a classes.txt"
    )


def _names_in_settings(file: str) -> tuple[str, ...]:
    try:
        import yaml
    except ImportError:
        raise ConfigError(
            f"{file} requires PyYAML; run `pip install pyyaml`, or pass --classes=cat,dog in the order of their numbers"
        ) from None
    try:
        with open(file, encoding="utf-8") as content:
            names = yaml.safe_load(content)["names"]
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{file} does not contain the names of classes: {first_line(error)}"
        ) from error
    if isinstance(names, dict):
        names = [names[key] for key in sorted(names)]
    return tuple(str(name) for name in names)
