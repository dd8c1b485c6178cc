"""Boxes of a COCO json file."""

import collections
import json
import os
from collections.abc import Hashable
from typing import Any

from pixpro_tf.data.labelled.boxes.collecting import (
    Collector,
    LabelledBoxes,
    RawObject,
)
from pixpro_tf.data.labelled.boxes.image_files import ImageFiles, normalised
from pixpro_tf.data.labelled.user_files import BESIDE_COCO
from pixpro_tf.errors import RunError, first_line


def read(
    path: str, images: str = "", classes: tuple[str, ...] = (), box_orientation: str = ""
) -> LabelledBoxes:
    """Reads a file with `images`, `annotations` and `categories`; see `boxes.read`.

    Raises:
        RunError: if the file is damaged or of another kind.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            content = json.load(file)
        listed = sorted(content["categories"], key=lambda each: str(each["id"]).zfill(12))
        categories = {each["id"]: str(each["name"]) for each in listed}
        of_image: dict[Any, list[dict[str, Any]]] = collections.defaultdict(list)
        for annotation in content["annotations"]:
            of_image[annotation["image_id"]].append(annotation)
        pictures = {each["id"]: each for each in content["images"]}
        names = {key: str(each["file_name"]) for key, each in pictures.items()}
        twice = len(content["images"]) - len(pictures)
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise RunError(f"{path} cannot be read: {reason}") from error
    except (KeyError, TypeError, AttributeError) as error:
        missing = isinstance(error, KeyError)
        reason = f"it lacks {error.args[0]}" if missing else "its entries have the wrong type"
        raise RunError(
            f"{path} is not a COCO file: {reason}; pass a json file with images, annotations and categories"
        ) from error
    if twice:
        raise RunError(
            f"{path} contains duplicate image ids ({twice} of {len(content['images'])}), so its boxes cannot be assigned to images; "
            "give each image its own id"
        )
    beside = os.path.dirname(os.path.abspath(path))
    places = [os.path.join(beside, each) for each in BESIDE_COCO]
    folders = [images] if images else places
    # Some tools write a category twice under different ids.
    of_file = tuple(dict.fromkeys(categories.values()))
    collector = Collector(path, classes, of_file, "in the order of their ids", box_orientation)
    files = ImageFiles(names.values())
    for key, picture in pictures.items():
        objects = [_object(each, categories) for each in of_image.pop(key, [])]
        found = files.find(names[key], folders)
        if found is None:
            collector.missing(normalised(names[key]))
        else:
            collector.add(found, objects, _size(picture))
    for key, annotations in of_image.items():
        for _ in annotations:
            collector.problem("boxes of images that are not listed, left out", f"image_id {key}")
    return collector.result()


def _size(picture: dict[str, Any]) -> tuple[int, int] | None:
    """Returns width and height; None if the file does not know them, for which some tools write 0."""
    try:
        width, height = (int(float(picture[side])) for side in ("width", "height"))
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return (width, height) if width and height else None


def _object(annotation: dict[str, Any], categories: dict[Any, str]) -> RawObject:
    key = annotation.get("category_id")
    # A damaged file can contain a list here.
    name = categories.get(key, str(key)) if isinstance(key, Hashable) else str(key)
    try:
        x, y, width, height = map(float, annotation["bbox"])
        box = [y, x, y + height, x + width]
    except (KeyError, TypeError, ValueError, OverflowError):
        box = []
    return RawObject(name, box, _is_true(annotation.get("iscrowd")))


def _is_true(value: Any) -> bool:
    """Whether a flag is set, which some tools write as a text or with a decimal point."""
    try:
        # NaN stands for a missing value.
        return bool(float(value) and float(value) == float(value))
    except (TypeError, ValueError):
        return str(value).strip().lower() == "true"
