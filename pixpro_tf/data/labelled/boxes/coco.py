"""Boxes of a COCO json file."""

import collections
import json
import os
from typing import Any

from pixpro_tf.data.labelled.boxes.collecting import (
    Collector,
    LabelledBoxes,
    RawObject,
    find_image,
)
from pixpro_tf.errors import RunError, first_line


def read(path: str, images: str = "", classes: tuple[str, ...] = ()) -> LabelledBoxes:
    """Reads a file with `images`, `annotations` and `categories`; see `boxes.read`.

    Raises:
        RunError: if the file is damaged or of another kind.
    """
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
        categories = {
            each["id"]: str(each["name"])
            for each in sorted(content["categories"], key=lambda each: each["id"])
        }
        of_image: dict[Any, list[dict[str, Any]]] = collections.defaultdict(list)
        for annotation in content["annotations"]:
            of_image[annotation["image_id"]].append(annotation)
        pictures = {each["id"]: each for each in content["images"]}
        names = {key: str(each["file_name"]) for key, each in pictures.items()}
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {first_line(error)}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{path} is not a COCO file: it lacks {error}; pass a json file with images, annotations and categories"
        ) from error
    if len(set(categories.values())) < len(categories):
        raise RunError(
            f"{path} contains a category twice; its categories are {', '.join(categories.values())}"
        )
    beside = os.path.dirname(os.path.abspath(path))
    folders = [images] if images else [beside, os.path.join(beside, "images")]
    collector = Collector(path, classes or tuple(categories.values()))
    for key, picture in pictures.items():
        size = (
            (picture["width"], picture["height"]) if {"width", "height"} <= picture.keys() else None
        )
        objects = [_object(each, categories) for each in of_image.pop(key, [])]
        collector.add(find_image(names[key], folders), objects, size)
    for key, annotations in of_image.items():
        for _ in annotations:
            collector.problem("boxes of images that are not listed, left out", f"image_id {key}")
    return collector.result()


def _object(annotation: dict[str, Any], categories: dict[Any, str]) -> RawObject:
    key = annotation.get("category_id")
    try:
        x, y, width, height = map(float, annotation["bbox"])
        box = [y, x, y + height, x + width]
    except (KeyError, TypeError, ValueError):
        box = []
    return RawObject(categories.get(key, str(key)), box, bool(annotation.get("iscrowd", 0)))
