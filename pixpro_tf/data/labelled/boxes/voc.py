"""Boxes of a folder of Pascal VOC xml files."""

import glob
import os
import xml.etree.ElementTree

from pixpro_tf.data.labelled.boxes.collecting import (
    Collector,
    LabelledBoxes,
    RawObject,
    find_image,
)
from pixpro_tf.errors import RunError

_SIDES = ("ymin", "xmin", "ymax", "xmax")


def read(path: str, images: str = "", classes: tuple[str, ...] = ()) -> LabelledBoxes:
    """Reads all xml files of a folder; see `boxes.read`. Coordinates are used as they are, as in TFDS and in the Object Detection API."""
    files = sorted(glob.glob(os.path.join(glob.escape(path), "*.xml")))
    collector = Collector(path, classes or None)
    for file in files:
        try:
            root = xml.etree.ElementTree.parse(file).getroot()
        except (xml.etree.ElementTree.ParseError, OSError, ValueError, LookupError):
            collector.problem("xml files that are damaged, left out", file)
            continue
        stem = os.path.splitext(os.path.basename(file))[0]
        beside = os.path.dirname(os.path.abspath(file))
        places = [os.path.join(beside, each) for each in ("", "../JPEGImages", "../images")]
        name = (root.findtext("filename") or "").strip() or f"{stem}.jpg"
        found = find_image(name, [images] if images else places, stem)
        collector.add(found, map(_object, root.iter("object")), _size(root))
    if not files:
        raise RunError(f"{path} contains no xml files")
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
