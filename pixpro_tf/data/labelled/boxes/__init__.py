"""Boxes of one's own images, in the formats of COCO, Pascal VOC and YOLO."""

import dataclasses
import hashlib
import os

from pixpro_tf.data.labelled.boxes import coco, voc, yolo
from pixpro_tf.data.labelled.boxes.collecting import LabelledBoxes, LabelledImage, check_classes
from pixpro_tf.data.labelled.user_files import files_in
from pixpro_tf.errors import RunError, why_not_a_folder

__all__ = ["LabelledBoxes", "LabelledImage", "read", "read_parts", "split_off"]


def read(
    path: str,
    images: str = "",
    classes: tuple[str, ...] = (),
    numbered: tuple[str, ...] | None = None,
    box_orientation: str = "",
) -> LabelledBoxes:
    """Reads boxes and checks them against their images.

    Args:
        path: a COCO json file, or a folder of VOC xml or YOLO txt files.
        images: folder of the images; empty for the places where tools put them: beside a json file, or in `images` or `../images`; beside
            xml files, or in `../JPEGImages` or `../images`; beside txt files, or in `images` for `labels`.
        classes: names of the classes in their order, others are left out; empty for all: those of a json file by their id, of xml files in
            alphabetical order, and of YOLO's classes.txt, obj.names or data.yaml.
        numbered: names of the classes by their numbers, for YOLO without such a file; None for `classes`.
        box_orientation: whether boxes are those of an image as it is `shown` or as it is `stored`, where an EXIF tag rotates it and the width
            and height in the labels do not tell; empty leaves such images out.

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
        if reason := why_not_a_folder(images):
            raise RunError(
                f"the folder of images {images} {reason}; pass an existing folder with --images or --evaluation_images"
            )
    if os.path.isfile(path) and path.lower().endswith(".json"):
        return coco.read(path, images, classes, box_orientation)
    if os.path.isdir(path):
        if files_in(path, ".xml"):
            return voc.read(path, images, classes, box_orientation)
        if files_in(path, ".txt"):
            numbered = classes if numbered is None else numbered
            return yolo.read(path, images, classes, numbered, box_orientation)
    if "://" in path:
        raise RunError(f"{given} is not a local path; copy the labels to this machine")
    if not os.path.exists(path):
        raise RunError(
            f"the labels {given} do not exist; pass a COCO json file, or a folder of VOC xml or YOLO txt files"
        )
    raise RunError(
        f"{given} is not a COCO json file, or a folder of VOC xml or YOLO txt files; folders inside it are not searched"
    )


def read_parts(
    labels: str,
    images: str = "",
    evaluation_labels: str = "",
    evaluation_images: str = "",
    classes: tuple[str, ...] = (),
    box_orientation: str = "",
) -> tuple[LabelledBoxes, LabelledBoxes, list[str]]:
    """Reads labels to train and to evaluate on.

    Args:
        labels, images, classes, box_orientation: see `read`.
        evaluation_labels: labels to evaluate on; empty keeps a tenth of the images for that, see `split_off`.
        evaluation_images: folder of their images; empty for `images`.

    Returns:
        Both parts, with the same classes, and lines about what they contain. An image without objects in one part that has objects in the
        other one is left out there: it was in a folder of images that both share.

    Raises:
        UserError: as in `read`, or if a part has no objects.
    """
    train = read(labels, images, classes, box_orientation=box_orientation)
    lines = train.report
    if evaluation_labels:
        # The classes may be in another order than that of the numbers in YOLO files.
        evaluation = read(
            evaluation_labels,
            evaluation_images or images,
            train.class_names,
            train.numbered or classes,
            box_orientation,
        )
        lines += evaluation.report
        train, evaluation = _without(train, evaluation), _without(evaluation, train)
        lines += _shared(train, evaluation)
    else:
        train, evaluation = split_off(train)
    for part in (train, evaluation):
        if not any(image.has_objects for image in part.images):
            raise RunError(f"{part.source} contains no objects, only boxes around crowds")
    if all(image.ignored.all() for image in evaluation.images):
        raise RunError(
            f"{evaluation.source} contains only objects that are difficult, which VOC does not evaluate; use other images to evaluate on"
        )
    lines.append(
        f"images for training: {len(train.images)}, for evaluation: {len(evaluation.images)}"
    )
    return train, evaluation, lines


def split_off(labels: LabelledBoxes, every: int = 10) -> tuple[LabelledBoxes, LabelledBoxes]:
    """Splits labels into those for training and those for evaluation, by the names of the images alone.

    Args:
        labels: labels of at least two images with objects.
        every: number of images of which one is for evaluation, of those with objects and of those without.

    Raises:
        RunError: if there are fewer than two images with objects.
    """
    ordered = sorted(labels.images, key=lambda image: hashlib.sha256(_name(image)).digest())
    with_objects = [image for image in ordered if image.has_objects]
    others = [image for image in ordered if not image.has_objects]
    if len(with_objects) < 2:
        raise RunError(
            f"{labels.source} has fewer than two images with objects; pass --evaluation_labels"
        )
    held_out = with_objects[: max(round(len(with_objects) / every), 1)]
    held_out += others[: round(len(others) / every)]
    paths = {image.path for image in held_out}
    train, evaluation = (
        dataclasses.replace(
            labels, images=tuple(each for each in labels.images if (each.path in paths) == chosen)
        )
        for chosen in (False, True)
    )
    return train, evaluation


def _without(part: LabelledBoxes, other: LabelledBoxes) -> LabelledBoxes:
    """Returns a part without the images that have objects only in the other one."""
    labelled = {image.path for image in other.images if len(image.labels)}
    images = tuple(
        image for image in part.images if len(image.labels) or image.path not in labelled
    )
    return dataclasses.replace(part, images=images)


def _shared(train: LabelledBoxes, evaluation: LabelledBoxes) -> list[str]:
    """Returns a line about images that are in both parts, for example because files of two folders have the same names."""
    trained = {image.path for image in train.images}
    paths = sorted(
        image.path for image in evaluation.images if len(image.labels) and image.path in trained
    )
    if not paths:
        return []
    return [
        f"images that are both trained on and evaluated: {len(paths)} (such as {paths[0]}); scores on them do not tell how well others are "
        "recognised. If these are the wrong files, pass --evaluation_images"
    ]


def _name(image: LabelledImage) -> bytes:
    return os.path.basename(image.path).encode(errors="surrogateescape")
