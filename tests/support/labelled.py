"""The same labelled images in the formats of COCO, Pascal VOC and YOLO."""

import json
import os

from PIL import Image

SIZES = {"a.jpg": (60, 40), "b.png": (31, 47), "c.jpg": (50, 50)}
# Class, and x0, y0, x1, y1 in pixels.
OBJECTS = {
    "a.jpg": [("dog", (3, 4, 20, 30)), ("cat", (0, 0, 60, 40))],
    "b.png": [("cat", (10, 11, 30, 47))],
    "c.jpg": [],
}
NAMES = ("cat", "dog")


def write_images(folder, sizes=SIZES):
    os.makedirs(folder, exist_ok=True)
    for name, size in sizes.items():
        Image.new("RGB", size, (200, 100, 50)).save(os.path.join(folder, name))


def write_coco(folder, objects=OBJECTS, sizes=SIZES, names=NAMES, **changes):
    ids = {name: 3 + 14 * place for place, name in enumerate(names)}
    content = {
        "categories": [{"id": number, "name": name} for name, number in ids.items()],
        "images": [
            {"id": 100 + place, "file_name": name, "width": size[0], "height": size[1]}
            for place, (name, size) in enumerate(sizes.items())
        ],
        "annotations": [
            {
                "image_id": 100 + list(sizes).index(name),
                "category_id": ids[kind],
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "iscrowd": 0,
            }
            for name, found in objects.items()
            for kind, (x0, y0, x1, y1) in found
        ],
    }
    path = folder / "labels.json"
    path.write_text(json.dumps(content | changes))
    return str(path)


def write_voc(folder, objects=OBJECTS, sizes=SIZES, names=NAMES):
    # The files have no place for names that no box has.
    folder = folder / "Annotations"
    folder.mkdir(exist_ok=True)
    for name, found in objects.items():
        items = "".join(
            f"<object><name>{kind}</name><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
            for kind, (x0, y0, x1, y1) in found
        )
        width, height = sizes[name]
        size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
        text = f"<annotation><filename>{name}</filename>{size}{items}</annotation>"
        (folder / f"{name[:-4]}.xml").write_text(text)
    return str(folder)


def write_yolo(folder, objects=OBJECTS, sizes=SIZES, names=NAMES):
    folder = folder / "labels"
    folder.mkdir(exist_ok=True)
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in names))
    for name, found in objects.items():
        width, height = sizes[name]
        lines = [
            f"{names.index(kind)} {(x0 + x1) / 2 / width!r} {(y0 + y1) / 2 / height!r} {(x1 - x0) / width!r} {(y1 - y0) / height!r}"
            for kind, (x0, y0, x1, y1) in found
        ]
        # An image without objects need not have a file.
        if lines:
            (folder / f"{name[:-4]}.txt").write_text("\n".join(lines) + "\n")
    return str(folder)


WRITERS = {"coco": write_coco, "voc": write_voc, "yolo": write_yolo}
