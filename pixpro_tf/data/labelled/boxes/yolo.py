"""Boxes of a folder of YOLO txt files: a line `class x y width height` for each object, relative to the image."""

import contextlib
import dataclasses
import math
import os
from collections.abc import Iterator
from typing import Any

from pixpro_tf.data.images import is_image_name
from pixpro_tf.data.labelled.boxes.collecting import (
    Collector,
    LabelledBoxes,
    RawObject,
)
from pixpro_tf.data.labelled.user_files import files_in, images_of_yolo, read_lines, read_text
from pixpro_tf.errors import ConfigError, RunError

# Files with the names of the classes, in the folder of the labels or in one of the two above it.
_LISTS = ("classes.txt", "obj.names")
_SETTINGS = ("data.yaml", "dataset.yaml", "data.yml")


def read(
    path: str,
    images: str = "",
    classes: tuple[str, ...] = (),
    numbered: tuple[str, ...] = (),
    box_orientation: str = "",
) -> LabelledBoxes:
    """Reads all txt files of a folder; see `boxes.read`. An image without a txt file has no objects.

    A line with more numbers is a polygon, whose box is used, or a box with the key points that `kpt_shape` in data.yaml describes.
    """
    names, order = _class_names(path) or (numbered, "in the order of their numbers")
    if not names:
        raise ConfigError(
            f"{path} contains no class names; add a classes.txt with one name per line in the order of their numbers, "
            "or pass the names with --classes or --label_map"
        )
    collector = Collector(path, classes, names, order, box_orientation)
    files = {
        os.path.splitext(os.path.basename(file))[0]: file
        for file in files_in(path, ".txt")
        if os.path.basename(file).lower() not in _LISTS
    }
    folder = images or images_of_yolo(path)
    pictures: dict[str, str] = {}
    for name in sorted(filter(is_image_name, os.listdir(folder))):
        stem = os.path.splitext(name)[0]
        if stem in pictures:
            collector.problem(
                "images whose name differs from another in its suffix only, left out", name
            )
        else:
            pictures[stem] = os.path.join(folder, name)
    keypoints = _numbers_of_keypoints(path)
    for stem, picture in pictures.items():
        found = _objects(files[stem], names, keypoints) if stem in files else []
        collector.add(picture, found)
    for stem, file in files.items():
        if stem not in pictures:
            collector.problem(
                "txt files without an image, left out (pass their folder with --images, or --evaluation_images)",
                file,
            )
    return dataclasses.replace(collector.result(), numbered=names)


def _objects(file: str, names: tuple[str, ...], keypoints: int) -> list[RawObject]:
    return [_object(line.split(), names, keypoints) for line in read_lines(file)]


def _object(words: list[str], names: tuple[str, ...], keypoints: int) -> RawObject:
    number, *coordinates = words
    try:
        place = int(number)
    except ValueError:
        place = -1
    known = 0 <= place < len(names)
    try:
        box = _box([float(word) for word in coordinates], keypoints)
    except ValueError:
        box = []
    return RawObject(names[place] if known else number, box, relative=True)


def _box(numbers: list[float], keypoints: int) -> list[float]:
    """Returns the box of an object, or of the polygon around it; raises `ValueError` if the numbers are neither.

    Args:
        numbers: numbers behind the class.
        keypoints: number of those that describe key points; 0 for none.
    """
    # A fifth number is the confidence of a prediction.
    if len(numbers) in (4, 5) or (keypoints and len(numbers) == 4 + keypoints):
        x, y, width, height = numbers[:4]
        return [y - height / 2, x - width / 2, y + height / 2, x + width / 2]
    if len(numbers) < 6 or len(numbers) % 2:
        raise ValueError("neither a box nor a polygon")
    if max(numbers) >= 2:
        # Key points with a visibility of 2, and no settings that tell how many there are.
        raise ValueError("not a polygon")
    xs, ys = numbers[::2], numbers[1::2]
    return [min(ys), min(xs), max(ys), max(xs)]


def _files_above(path: str, names: tuple[str, ...]) -> Iterator[str]:
    """Yields the files of these names in the folder of the labels, then in the two above it."""
    above = os.path.abspath(path)
    for _ in range(3):
        yield from filter(os.path.isfile, (os.path.join(above, name) for name in names))
        above = os.path.dirname(above)


def _class_names(path: str) -> tuple[tuple[str, ...], str] | None:
    """Returns the names of the classes by their numbers, and where they come from; None if no file tells them."""
    for file in _files_above(path, (*_LISTS, *_SETTINGS)):
        is_list = os.path.basename(file) in _LISTS
        names = _distinct(read_lines(file), file) if is_list else _names_in_settings(file)
        return names, f"in the order of {file}"
    return None


def _numbers_of_keypoints(path: str) -> int:
    """Returns how many numbers describe the key points of an object, by the settings nearest to the labels; 0 without key points."""
    # Without PyYAML, only names in such a file are an error.
    with contextlib.suppress(ConfigError):
        for file in _files_above(path, _SETTINGS):
            content = _settings(file)
            shape = content.get("kpt_shape") if isinstance(content, dict) else None
            is_shape = isinstance(shape, list) and all(isinstance(each, int) for each in shape)
            return math.prod(shape) if shape and is_shape else 0
    return 0


def _settings(file: str) -> Any:
    """Returns the content of a YAML file; None if it is invalid."""
    try:
        import yaml
    except ImportError:
        raise ConfigError(
            f"{file} requires PyYAML; run `pip install pyyaml`, or add a classes.txt"
        ) from None
    text = read_text(file)
    try:
        return yaml.safe_load(text)
    except Exception:
        # PyYAML raises errors of many types for what it cannot convert, such as the date 2024-02-30.
        return None


def _names_in_settings(file: str) -> tuple[str, ...]:
    content = _settings(file)
    names, reason = None, "invalid YAML" if content is None else "names is missing"
    if isinstance(content, dict) and content.get("names") is not None:
        names, reason = content["names"], "names is neither"
    if isinstance(names, dict) and set(names) == set(range(len(names))):
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list):
        raise RunError(
            f"{file} must contain names: a list of the classes, or a mapping numbered from 0 ({reason})"
        )
    return _distinct([str(name) for name in names], file)


def _distinct(names: list[str], file: str) -> tuple[str, ...]:
    if not names or len(set(names)) < len(names):
        raise RunError(f"{file} must list at least one class, and each class once")
    return tuple(names)
