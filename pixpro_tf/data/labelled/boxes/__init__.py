"""Boxes of one's own images, in the formats of COCO, Pascal VOC and YOLO."""

import dataclasses
import glob
import hashlib
import os

from pixpro_tf.data.labelled.boxes import coco, voc, yolo
from pixpro_tf.data.labelled.boxes.collecting import LabelledBoxes, LabelledImage, check_classes
from pixpro_tf.errors import RunError

__all__ = ["LabelledBoxes", "LabelledImage", "read", "split_off"]


def read(path: str, images: str = "", classes: tuple[str, ...] = ()) -> LabelledBoxes:
    """Reads boxes and checks them against their images.

    Args:
        path: a COCO json file, or a folder of VOC xml or YOLO txt files.
        images: folder of the images; empty for the places where tools put them: beside a json file or in its `images`; beside xml files
            or in `../JPEGImages` or `../images`; beside txt files, or in `images` for `labels`.
        classes: names of the classes in their order; empty for those of a json file by their id, of xml files in alphabetical order, and of
            YOLO's classes.txt, obj.names or data.yaml.

    Returns:
        Images with boxes that can be used. What is wrong is counted in `problems`.

    Raises:
        UserError: if the path does not exist, is of another kind, or contains no box that can be used.

    Examples:
        >>> import json, os, tempfile
        >>> from PIL import Image
        >>> from pixpro_tf.data.labelled import boxes
        >>> folder = tempfile.mkdtemp()
        >>> Image.new("RGB", (40, 30)).save(f"{folder}/a.png")
        >>> content = {
        ...     "images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 30}],
        ...     "categories": [{"id": 7, "name": "cat"}],
        ...     "annotations": [
        ...         {"image_id": 1, "category_id": 7, "bbox": [10, 5, 20, 10]},
        ...         {"image_id": 1, "category_id": 7, "bbox": [10, 5, 0, 10]},
        ...     ],
        ... }
        >>> with open(f"{folder}/labels.json", "w") as file:
        ...     json.dump(content, file)
        >>> found = boxes.read(f"{folder}/labels.json")
        >>> found.images[0].boxes.tolist(), found.class_names
        ([[5.0, 10.0, 15.0, 30.0]], ('cat',))
        >>> found.problems
        {'boxes without area, left out': ['a.png']}
    """
    given = path
    path = os.path.expanduser(path)
    check_classes(classes)
    if images:
        images = os.path.expanduser(images)
        if not os.path.isdir(images):
            raise RunError(f"--images={images} is not an existing folder")
    if os.path.isfile(path) and path.endswith(".json"):
        return coco.read(path, images, classes)
    if os.path.isdir(path):
        for suffix, reader in (("xml", voc.read), ("txt", yolo.read)):
            if glob.glob(os.path.join(glob.escape(path), f"*.{suffix}")):
                return reader(path, images, classes)
    raise RunError(
        f"{given} is not a COCO json file, or a folder of VOC xml or YOLO txt files"
        if os.path.exists(path)
        else f"{given} does not exist"
    )


def split_off(labels: LabelledBoxes, every: int = 10) -> tuple[LabelledBoxes, LabelledBoxes]:
    """Splits labels into those for training and those for evaluation, by the names of the images alone.

    Args:
        labels: labels of at least two images.
        every: number of images of which one is for evaluation.

    Raises:
        RunError: if there are fewer than two images.
    """
    if len(labels.images) < 2:
        raise RunError(f"{labels.source} has a single image; pass --evaluation_labels")
    ordered = sorted(labels.images, key=lambda image: hashlib.sha256(_name(image)).digest())
    count = max(len(ordered) // every, 1)
    held_out = {image.path for image in ordered[:count]}
    train, evaluation = (
        dataclasses.replace(
            labels,
            images=tuple(each for each in labels.images if (each.path in held_out) == chosen),
        )
        for chosen in (False, True)
    )
    return train, evaluation


def _name(image: LabelledImage) -> bytes:
    return os.path.basename(image.path).encode(errors="surrogateescape")
