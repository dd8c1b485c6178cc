"""Boxes of a folder of Pascal VOC xml files."""

import os
import xml.etree.ElementTree
from typing import NamedTuple

from pixpro_tf.data.labelled.boxes.collecting import (
    Collector,
    LabelledBoxes,
    RawObject,
)
from pixpro_tf.data.labelled.boxes.image_files import ImageFiles, normalised
from pixpro_tf.data.labelled.user_files import BESIDE_VOC, files_in
from pixpro_tf.errors import RunError

_SIDES = ("ymin", "xmin", "ymax", "xmax")


class _Labels(NamedTuple):
    """Contents of an xml file: the name of its image, the objects, and the image's width and height."""

    name: str
    objects: list[RawObject]
    size: tuple[int, int] | None


def read(
    path: str, images: str = "", classes: tuple[str, ...] = (), box_orientation: str = ""
) -> LabelledBoxes:
    """Reads all xml files of a folder; see `boxes.read`. Coordinates are used as they are, as in TFDS and in the Object Detection API."""
    files = files_in(path, ".xml")
    collector = Collector(path, classes, box_orientation=box_orientation)
    labels: dict[str, _Labels] = {}
    for file in files:
        try:
            root = xml.etree.ElementTree.parse(file).getroot()
        except (xml.etree.ElementTree.ParseError, OSError, ValueError, LookupError):
            collector.problem("xml files that are damaged, left out", file)
            continue
        stem = os.path.splitext(os.path.basename(file))[0]
        name = (root.findtext("filename") or "").strip() or f"{stem}.jpg"
        labels[stem] = _Labels(name, [*map(_object, root.iter("object"))], _size(root))
    if not files:
        raise RunError(f"{path} contains no xml files")
    beside = os.path.abspath(path)
    places = [os.path.join(beside, each) for each in BESIDE_VOC]
    pictures = ImageFiles(each.name for each in labels.values())
    for stem, each in labels.items():
        found = pictures.find(each.name, [images] if images else places, stem)
        if found is None:
            collector.missing(normalised(each.name))
        else:
            collector.add(found, each.objects, each.size)
    return collector.result()


def _size(root: xml.etree.ElementTree.Element) -> tuple[int, int] | None:
    """Returns width and height; None if the file does not contain them."""
    try:
        width, height = (int(root.findtext(f"size/{side}") or "") for side in ("width", "height"))
    except ValueError:
        return None
    # Some tools write 0 if they do not know.
    return (width, height) if width > 0 and height > 0 else None


def _object(item: xml.etree.ElementTree.Element) -> RawObject:
    try:
        box = [float(item.findtext(f"bndbox/{side}") or "nan") for side in _SIDES]
    except ValueError:
        box = []
    difficult = (item.findtext("difficult") or "0").strip() not in ("", "0")
    return RawObject((item.findtext("name") or "").strip(), box, difficult=difficult)
