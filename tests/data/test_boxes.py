"""One's own boxes: the same from COCO, VOC and YOLO files, and an account of what is wrong in them."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixpro_tf.data import limits
from pixpro_tf.data.labelled import boxes
from pixpro_tf.errors import ConfigError, RunError
from tests.support.labelled import (
    NAMES,
    OBJECTS,
    SIZES,
    WRITERS,
    write_coco,
    write_images,
    write_voc,
    write_yolo,
)

FOLDER = "(pass their folder with --images, or --evaluation_images)"


@pytest.fixture
def folder(tmp_path):
    write_images(tmp_path / "images")
    return tmp_path


@pytest.mark.parametrize("kind", WRITERS)
def test_all_formats_have_the_same_boxes(folder, kind):
    found = boxes.read(WRITERS[kind](folder))
    assert found.class_names == NAMES and found.problems == {}
    assert [os.path.basename(image.path) for image in found.images] == list(SIZES)
    for image in found.images:
        name = os.path.basename(image.path)
        assert (image.width, image.height) == SIZES[name]
        expected = [(y0, x0, y1, x1) for _, (x0, y0, x1, y1) in OBJECTS[name]]
        np.testing.assert_allclose(image.boxes, np.reshape(expected, [-1, 4]), atol=1e-9)
        assert [NAMES[label] for label in image.labels] == [kind for kind, _ in OBJECTS[name]]
        assert not image.crowds.any()
    assert found.report == [f"{found.source}: images: 3, boxes: 3, classes: 2"]


@pytest.mark.parametrize("kind", WRITERS)
def test_broken_boxes_are_counted_by_kind_with_their_images(folder, kind):
    objects = {
        "a.jpg": [("cat", (5, 5, 5, 30)), ("dog", (1, 2, 30, 40.6)), ("cat", (70, 1, 80, 9))],
        "b.png": [("cat", (-9, 3, 20, 30)), ("cat", (20, 9, 10, 3))],
        "c.jpg": [("dog", ("nan", 1, 3, 4))] if kind == "voc" else [],
    }
    found = boxes.read(WRITERS[kind](folder, objects))
    expected = {
        "boxes without area, left out": ["a.jpg", "b.png"],
        "boxes outside of their image, left out": ["a.jpg"],
        "boxes that extend beyond their image, clipped": ["b.png"],
    }
    if kind == "voc":
        expected["boxes that are not four finite numbers, left out"] = ["c.jpg"]
    assert found.problems == expected
    # Within a pixel, a box is cut without a word: labels are rounded.
    np.testing.assert_allclose(found.images[0].boxes, [[2, 1, 40, 30]])
    np.testing.assert_allclose(found.images[1].boxes, [[3, 0, 30, 20]])
    assert f"{found.source}: boxes without area, left out: 2 (a.jpg, b.png)" in found.report


def test_objects_without_a_class_are_counted(folder):
    labels = write_voc(folder)
    path = next(
        path for path in sorted(Path(labels).rglob("*.xml")) if "<name>" in path.read_text()
    )
    before = sum(len(each.labels) for each in boxes.read(labels).images)
    path.write_text(re.sub(r"<name>\w+</name>", "<name> </name>", path.read_text(), count=1))
    found = boxes.read(labels)
    assert "" not in found.class_names
    assert sum(len(each.labels) for each in found.images) == before - 1
    assert len(found.problems["boxes without a class, left out"]) == 1


def test_images_that_cannot_be_used_are_named(folder):
    sizes = SIZES | {"missing.jpg": (9, 9), "damaged.png": (9, 9), "turned.jpg": (40, 60)}
    (folder / "images" / "damaged.png").write_bytes(b"\x89PNG no more")
    write_images(folder / "images", {"turned.jpg": (60, 40)})
    found = boxes.read(write_coco(folder, sizes=sizes))
    assert len(found.images) == 3
    assert found.problems == {
        f"images that do not exist, left out {FOLDER}": ["missing.jpg"],
        "images that are damaged or not JPEG, PNG, GIF, BMP, WebP or TIFF, left out": [
            "damaged.png"
        ],
        "images whose size differs from that in the labels, left out": ["turned.jpg"],
    }


def test_crowds_unknown_categories_and_images_of_coco_are_counted(folder):
    annotations = [
        {"image_id": 100, "category_id": 3, "bbox": [1, 2, 3, 4], "iscrowd": 1},
        {"image_id": 100, "category_id": 4, "bbox": [1, 2, 3, 4]},
        {"image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4]},
        {"image_id": 101, "category_id": 3, "bbox": [1, 2, 3]},
        {"image_id": 101, "category_id": 3},
    ]
    found = boxes.read(write_coco(folder, annotations=annotations))
    assert found.images[0].crowds.tolist() == [True]
    assert found.problems == {
        "boxes around crowds": ["a.jpg"],
        "boxes of the class 4, which is not among the classes, left out": ["a.jpg"],
        "boxes of images that are not listed, left out": ["image_id 7"],
        "boxes that are not four finite numbers, left out": ["b.png", "b.png"],
    }


@pytest.mark.parametrize("kind", WRITERS)
def test_the_order_of_classes_can_be_given(folder, kind):
    path = WRITERS[kind](folder)
    found = boxes.read(path, classes=("dog", "cat"))
    assert found.class_names == ("dog", "cat")
    assert found.images[0].labels.tolist() == [0, 1]
    assert boxes.read(path, classes=("cat",)).problems == {
        "boxes of the class dog, which is not among the classes, left out": ["a.jpg"]
    }
    with pytest.raises(ConfigError, match="contains cat twice"):
        boxes.read(path, classes=("cat", "dog", "cat"))


# An order that is not alphabetical, and a class without boxes.
ORDER = ("dog", "bird", "cat")


@pytest.mark.parametrize(
    ("kind", "classes", "order"),
    [
        ("coco", "1 dog, 2 bird, 3 cat", "in the order of their ids"),
        ("yolo", "1 dog, 2 bird, 3 cat", "in the order of {0}/classes.txt"),
        (
            "voc",
            "1 cat, 2 dog",
            "in alphabetical order, because the labels do not number them; --classes sets their order and adds classes without boxes",
        ),
    ],
)
def test_the_numbers_of_the_classes_are_reported_with_their_origin(folder, kind, classes, order):
    path = WRITERS[kind](folder, names=ORDER)
    found = boxes.read(path)
    assert found.classes_line("--classes") == f"{path}: classes: {classes} ({order.format(path)})"
    found = boxes.read(path, classes=ORDER)
    line = "classes: 1 dog, 2 bird, 3 cat (in the order of --classes)"
    assert found.classes_line("--classes") == f"{path}: {line}"
    line = "classes: 2 dog, 5 bird, 9 cat (by a file)"
    assert found.classes_line("--classes", (2, 5, 9), "by a file") == f"{path}: {line}"
    assert [found.class_names[label] for label in found.images[0].labels] == ["dog", "cat"]


def test_numbers_of_yolo_keep_their_names_whatever_the_order_of_the_classes(tmp_path):
    sizes = {f"{number}.jpg": (20, 20) for number in range(4)}
    objects = {name: [("dog", (1, 1, 9, 9)), ("cat", (2, 2, 9, 9))] for name in sizes}
    write_images(tmp_path / "all", sizes)
    paths = []
    for part in ("train", "val"):
        (tmp_path / part).mkdir()
        paths.append(write_yolo(tmp_path / part, objects, sizes))
    os.remove(f"{paths[1]}/classes.txt")
    images = str(tmp_path / "all")
    for classes in ((), ("dog", "cat"), ("cat", "dog")):
        _, evaluation, _ = boxes.read_parts(paths[0], images, paths[1], classes=classes)
        names = [evaluation.class_names[label] for label in evaluation.images[0].labels]
        assert names == ["dog", "cat"] and evaluation.class_names == (classes or NAMES)
    # The order of xml files is no numbering.
    path = write_voc(tmp_path, objects, sizes)
    with pytest.raises(ConfigError, match="val/labels contains no class names; add a"):
        boxes.read_parts(path, images, paths[1])


def test_names_by_number_can_be_given_where_yolo_has_none(folder):
    path = write_yolo(folder)
    os.remove(os.path.join(path, "classes.txt"))
    with pytest.raises(ConfigError, match="contains no class names; add a"):
        boxes.read(path)
    found = boxes.read(path, classes=("x", "y"))
    assert found.class_names == ("x", "y") and found.images[0].labels.tolist() == [1, 0]
    assert found.classes_line("") == f"{path}: classes: 1 x, 2 y (in the order of --classes)"


def test_names_of_yolo_come_from_its_settings(folder):
    pytest.importorskip("yaml")
    path = write_yolo(folder)
    os.remove(os.path.join(path, "classes.txt"))
    for text in ("names: [cat, dog]\n", "train: images\nnames:\n  0: cat\n  1: dog\n"):
        (folder / "data.yaml").write_text(text)
        assert boxes.read(path).class_names == NAMES
    for text, reason in (
        ("nc: 2", "names is missing"),
        ("names:", "names is missing"),
        ("- cat", "names is missing"),
        ("names: cat", "names is neither"),
        ("names: {1: cat, 2: dog}", "names is neither"),
        ("names: {0: cat, dog: 1}", "names is neither"),
        ("names: 3", "names is neither"),
        ("[", "invalid YAML"),
        ("names: [cat]\ndate: 2024-02-30\n", "invalid YAML"),
    ):
        (folder / "data.yaml").write_text(text)
        with pytest.raises(RunError, match=rf"must contain names: a list .*\({reason}\)$"):
            boxes.read(path)
    for text in ("names: [cat, cat]", "names: []"):
        (folder / "data.yaml").write_text(text)
        with pytest.raises(RunError, match="must list at least one class, and each class once"):
            boxes.read(path)


def test_polygons_of_yolo_have_the_box_around_them(folder):
    path = write_yolo(folder)
    with open(os.path.join(path, "c.txt"), "w") as file:
        file.write("0 .1 .2 .9 .2 .9 .8 .1 .8\n0 .1 .2 .9 .2 .9 .8 .1\n0 .1 .2 .3 .4 .5 .6 .7\n")
    found = boxes.read(path)
    np.testing.assert_allclose(found.images[2].boxes, [[10, 5, 40, 45]])
    assert found.problems == {
        "boxes that are not four finite numbers, left out": ["c.jpg", "c.jpg"]
    }


KEYPOINTS = {
    "of two numbers": ("[2, 2]", "0 .5 .5 .4 .2 .45 .5 .55 .5"),
    "of three numbers": ("[2, 3]", "0 .5 .5 .4 .2 .45 .5 2 .55 .5 0"),
}


@pytest.mark.parametrize("kind", KEYPOINTS)
def test_key_points_of_yolo_are_no_polygons(folder, kind):
    pytest.importorskip("yaml")
    path = write_yolo(folder)
    shape, line = KEYPOINTS[kind]
    (folder / "data.yaml").write_text(f"names: [cat, dog]\nkpt_shape: {shape}\n")
    (folder / "labels" / "c.txt").write_text(f"{line}\n0 .1 .2 .9 .2 .9 .8\n")
    found = boxes.read(path)
    # The second line has another number of points, so it is a polygon. The image has 50x50 pixels.
    np.testing.assert_allclose(found.images[2].boxes, [[20, 15, 30, 35], [10, 5, 40, 45]])
    assert found.problems == {}


def test_key_points_with_visibilities_are_counted_without_settings(folder):
    path = write_yolo(folder)
    (folder / "labels" / "c.txt").write_text("0 .5 .5 .4 .2 .45 .5 2 .55 .5 0\n")
    found = boxes.read(path)
    assert len(found.images[2].boxes) == 0
    assert found.problems == {"boxes that are not four finite numbers, left out": ["c.jpg"]}


@pytest.mark.parametrize("kind", ["voc", "yolo"])
def test_suffixes_of_labels_in_upper_case_are_known(folder, kind):
    path = WRITERS[kind](folder)
    wanted = boxes.read(path)
    suffix = {"voc": ".xml", "yolo": ".txt"}[kind]
    for number, name in enumerate(sorted(os.listdir(path))):
        # Some of them, then all.
        stem = name.removesuffix(suffix)
        if stem != "classes":
            os.rename(f"{path}/{name}", f"{path}/{stem}{suffix.upper()}")
        if number in (0, len(os.listdir(path)) - 1):
            found = boxes.read(path)
            assert [each.boxes.tolist() for each in found.images] == [
                each.boxes.tolist() for each in wanted.images
            ]
            assert found.problems == {}


@pytest.mark.parametrize(
    ("value", "crowd"),
    [(0.0, False), ("false", False), (None, False), (float("nan"), False), (1.0, True), ("1", True), (True, True)],
)  # fmt: skip
def test_crowds_are_marked_in_many_ways(folder, value, crowd):
    annotations = [
        {"image_id": 100, "category_id": 3, "bbox": [1, 2, 3, 4], "iscrowd": value},
        {"image_id": 100, "category_id": 3, "bbox": [1, 2, 3, 4]},
    ]
    (image, *_) = boxes.read(write_coco(folder, annotations=annotations)).images
    assert image.crowds.tolist() == [crowd, False]


def test_a_png_that_only_pillow_reads_is_left_out(folder):
    path = write_coco(folder)
    picture = folder / "images" / "b.png"
    picture.write_bytes(picture.read_bytes()[:-12])
    with Image.open(picture) as image:
        image.load()
    found = boxes.read(path)
    assert [os.path.basename(each.path) for each in found.images] == ["a.jpg", "c.jpg"]
    assert len(found.problems) == 1 and [*found.problems.values()] == [["b.png"]]


def test_images_that_are_trained_on_and_evaluated_are_counted(folder):
    """Two tasks of a labelling tool have images of the same names in folders of their own; --images names only one of them."""
    path = write_coco(folder)
    (folder / "second").mkdir()
    write_images(folder / "second" / "images")
    other = write_coco(folder / "second")
    *_, lines = boxes.read_parts(path, str(folder / "images"), other)
    (line,) = [line for line in lines if "both trained on and evaluated" in line]
    assert line.startswith(f"images that are both trained on and evaluated: 2 (such as {folder}")
    *_, lines = boxes.read_parts(path, "", other)
    assert not any("both trained on" in line for line in lines)


@pytest.mark.parametrize("kind", WRITERS)
def test_byte_order_marks_are_no_part_of_the_text(folder, kind):
    path = WRITERS[kind](folder)
    for file in [path] if os.path.isfile(path) else [f"{path}/{name}" for name in os.listdir(path)]:
        with open(file, "rb") as content:
            text = content.read()
        with open(file, "wb") as content:
            content.write(b"\xef\xbb\xbf" + text)
    found = boxes.read(path)
    assert found.class_names == NAMES and found.problems == {}
    assert [len(image.labels) for image in found.images] == [2, 1, 0]


@pytest.mark.parametrize("kind", WRITERS)
def test_images_that_are_turned_cut_off_or_huge_are_left_out(folder, kind, monkeypatch):
    path = WRITERS[kind](folder)
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.new("RGB", SIZES["a.jpg"]).save(folder / "images" / "a.jpg", exif=exif)
    picture = folder / "images" / "c.jpg"
    picture.write_bytes(picture.read_bytes()[:-200])
    found = boxes.read(path)
    assert [os.path.basename(image.path) for image in found.images] == ["b.png"]
    assert found.problems == {
        "images rotated by an EXIF tag, left out (pass --box_orientation, or save them without the tag)": [
            "a.jpg"
        ],
        "images that are damaged or not JPEG, PNG, GIF, BMP, WebP or TIFF, left out": ["c.jpg"],
    }
    for limit in ("max_megapixels", "max_image_megabytes"):
        monkeypatch.setattr(limits, "_current", limits.Limits(**{limit: 0.0001}))
        with pytest.raises(RunError, match="images that are larger than --max_megapixels or"):
            boxes.read(path)


@pytest.mark.parametrize("size", [{"width": None}, {"width": 0}, {"height": "?"}])
def test_sizes_that_a_coco_file_does_not_know_are_not_compared(folder, size):
    images = [
        {"id": 100 + place, "file_name": name, "width": 1, "height": 1} | size
        for place, name in enumerate(SIZES)
    ]
    assert len(boxes.read(write_coco(folder, images=images)).images) == 3


@pytest.mark.parametrize(
    ("image", "annotation"),
    [
        ({"width": 1e999}, {"bbox": [1, 2, 3, 4], "category_id": [3]}),
        ({"height": -(10**400)}, {"bbox": [1, 10**400, 3, 4], "category_id": 3}),
    ],
)
def test_numbers_and_classes_that_cannot_be_are_counted(folder, image, annotation):
    images = [{"id": 1, "file_name": "a.jpg"} | image]
    good = {"image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4]}
    path = write_coco(folder, images=images, annotations=[good, good | annotation])
    found = boxes.read(path)
    assert len(found.images[0].boxes) == 1
    assert list(found.problems.values()) == [["a.jpg"]]


@pytest.mark.parametrize("number", ["²", "٣", "9" * 5000, "-1", "0.0"])
def test_numbers_of_yolo_that_are_no_class_are_counted(folder, number):
    path = write_yolo(folder)
    with open(os.path.join(path, "c.txt"), "w") as file:
        file.write(f"{number} 0.5 0.5 0.2 0.2\n")
    kind = f"boxes of the class {number}, which is not among the classes, left out"
    assert boxes.read(path).problems == {kind: ["c.jpg"]}


@pytest.mark.parametrize("size", ["²", "", "-5", "wide"])
def test_sizes_of_voc_that_are_no_numbers_are_not_compared(folder, size):
    path = write_voc(folder)
    with open(f"{path}/a.xml") as file:
        text = file.read()
    with open(f"{path}/a.xml", "w") as file:
        file.write(re.sub("<width>.*</width>", f"<width>{size}</width>", text))
    assert boxes.read(path).problems == {}


def test_the_report_is_valid_text_whatever_the_names(folder):
    images = [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "x\ud800\ny.jpg"}]
    annotations = [{"image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4]}]
    found = boxes.read(write_coco(folder, images=images, annotations=annotations))
    assert found.report[1].endswith(r": 1 (x\ud800\ny.jpg)")
    "\n".join(found.report).encode()


def test_texts_as_sizes_are_numbers(folder):
    images = [
        {"id": 100 + place, "file_name": name, "width": str(width), "height": float(height)}
        for place, (name, (width, height)) in enumerate(SIZES.items())
    ]
    assert boxes.read(write_coco(folder, images=images)).problems == {}


def test_images_of_one_id_are_refused_and_categories_of_one_name_are_one(folder):
    images = [{"id": 1, "file_name": name} for name in SIZES]
    with pytest.raises(RunError, match=r"contains duplicate image ids \(2 of 3\), so its boxes"):
        boxes.read(write_coco(folder, images=images))
    categories = [{"id": 3, "name": "cat"}, {"id": 17, "name": "cat"}]
    found = boxes.read(write_coco(folder, categories=categories))
    assert found.class_names == ("cat",) and found.images[0].labels.tolist() == [0, 0]


@pytest.mark.parametrize("written", [r"images\\{}", r"C:\\pics\\{}", "images/{}", " {} "])
def test_images_are_found_however_their_names_are_written(folder, written):
    images = [
        {"id": 100 + place, "file_name": written.replace("\\\\", "\\").format(name)}
        for place, name in enumerate(SIZES)
    ]
    path = write_coco(folder, images=images)
    assert boxes.read(path).problems == {}
    assert boxes.read(path, images=str(folder / "images")).problems == {}


def test_an_image_never_gets_the_boxes_of_another_of_the_same_name(folder):
    names = ("x/1.jpg", "y/1.jpg", "x/2.jpg", "1.jpg")
    write_images(folder / "images", {"1.jpg": (60, 40), "2.jpg": (60, 40)})
    annotations = [
        {"image_id": number, "category_id": 3, "bbox": [number, 2, 3, 4]} for number in range(4)
    ]
    for count in (3, 4):
        images = [{"id": number, "file_name": name} for number, name in enumerate(names[:count])]
        found = boxes.read(write_coco(folder, images=images, annotations=annotations[:count]))
        placed = {os.path.basename(each.path): each.boxes[0, 1] for each in found.images}
        # 1.jpg is used for the image that is called so, with no folder.
        assert placed == ({"2.jpg": 2} if count == 3 else {"1.jpg": 3, "2.jpg": 2})
        assert found.problems == {
            f"images that do not exist, left out {FOLDER}": ["x/1.jpg", "y/1.jpg"]
        }
    # One image under two ids is no reason to leave it out.
    images = [{"id": number, "file_name": "x/2.jpg"} for number in range(2)]
    found = boxes.read(write_coco(folder, images=images, annotations=annotations[:2]))
    assert found.problems == {"images listed twice, only the first labels used": ["2.jpg"]}


def test_an_image_of_voc_never_gets_the_boxes_of_another(folder):
    path = write_voc(folder)
    # a.xml names an image that does not exist, and b.xml the image that is called like a.xml.
    for stem, name in (("a", "old.jpg"), ("b", "a.jpg"), ("c", "x/c.jpg")):
        with open(f"{path}/{stem}.xml") as file:
            text = re.sub("<size>.*</size>", "", file.read())
        with open(f"{path}/{stem}.xml", "w") as file:
            file.write(re.sub("<filename>.*</filename>", f"<filename>{name}</filename>", text))
    found = boxes.read(path)
    assert found.problems == {
        f"images that do not exist, left out {FOLDER}": ["old.jpg"],
        "boxes that extend beyond their image, clipped": ["a.jpg"],
    }
    assert [os.path.basename(each.path) for each in found.images] == ["a.jpg", "c.jpg"]
    np.testing.assert_array_equal(found.images[0].boxes, [[11, 10, 40, 30]])


def test_xml_files_that_were_renamed_with_their_images_are_found(folder):
    path = write_voc(folder)
    for name in ("a", "b", "c"):
        with open(f"{path}/{name}.xml") as file:
            text = file.read()
        with open(f"{path}/{name}.xml", "w") as file:
            file.write(re.sub("<filename>.*</filename>", "<filename>old</filename>", text))
    assert boxes.read(path).problems == {}


def test_difficult_objects_of_voc_are_marked(folder):
    path = write_voc(folder)
    with open(f"{path}/a.xml") as file:
        text = file.read()
    with open(f"{path}/a.xml", "w") as file:
        file.write(text.replace("<object>", "<object><difficult>1</difficult>", 1))
    assert boxes.read(path).images[0].difficult.tolist() == [True, False]


def test_parts_that_share_a_folder_of_images_do_not_take_each_others_as_background(tmp_path):
    sizes = {f"{number}.jpg": (20, 20) for number in range(6)}
    write_images(tmp_path / "all", sizes)
    paths = []
    for part, names in (("train", ["0.jpg", "1.jpg", "2.jpg"]), ("val", ["3.jpg", "4.jpg"])):
        (tmp_path / part).mkdir()
        objects = {name: [("cat", (1, 1, 9, 9))] for name in names}
        paths.append(write_yolo(tmp_path / part, objects, sizes))
    train, evaluation, lines = boxes.read_parts(paths[0], str(tmp_path / "all"), paths[1])
    # 5.jpg has no objects in both.
    names = [
        [os.path.basename(each.path)[0] for each in part.images] for part in (train, evaluation)
    ]
    assert names == [["0", "1", "2", "5"], ["3", "4", "5"]]
    assert lines[-1] == "images for training: 4, for evaluation: 3"


def test_a_part_without_objects_is_refused_before_training(folder):
    path = write_coco(folder)
    crowds = [{"image_id": 100, "category_id": 3, "bbox": [1, 2, 3, 4], "iscrowd": "1"}]
    (folder / "val").mkdir()
    other = write_coco(folder / "val", annotations=crowds)
    with pytest.raises(RunError, match="contains no objects, only boxes around crowds"):
        boxes.read_parts(path, "", other, str(folder / "images"))


def test_unknown_numbers_of_yolo_are_counted(folder):
    path = write_yolo(folder)
    with open(os.path.join(path, "c.txt"), "w") as file:
        file.write("7 0.5 0.5 0.2 0.2\nword 0.5 0.5 0.2 0.2\n1 0.5 0.5\n1 0.5 0.5 0.2 0.2 0.97\n")
    with open(os.path.join(path, "nowhere.txt"), "w") as file:
        file.write("0 0.5 0.5 0.2 0.2\n")
    found = boxes.read(path)
    assert found.problems == {
        "boxes of the class 7, which is not among the classes, left out": ["c.jpg"],
        "boxes of the class word, which is not among the classes, left out": ["c.jpg"],
        "boxes that are not four finite numbers, left out": ["c.jpg"],
        f"txt files without an image, left out {FOLDER}": ["nowhere.txt"],
    }
    np.testing.assert_allclose(found.images[2].boxes, [[20, 20, 30, 30]])


def test_damaged_xml_files_are_counted_and_images_are_found_by_flag(folder, tmp_path):
    path = write_voc(folder)
    with open(os.path.join(path, "c.xml"), "w") as file:
        file.write("<annotation><object>")
    os.rename(folder / "images", folder / "elsewhere")
    with pytest.raises(RunError, match=r"contains no box that can be used .*do not exist"):
        boxes.read(path)
    found = boxes.read(path, images=str(folder / "elsewhere"))
    assert len(found.images) == 2
    assert found.problems == {"xml files that are damaged, left out": ["c.xml"]}
    with pytest.raises(RunError, match="the folder of images nowhere does not exist; pass"):
        boxes.read(path, images="nowhere")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "is not a COCO file: its entries have the wrong type"),
        ('{"images": []}', "is not a COCO file: it lacks categories; pass"),
        ('{"images": [], "annotations": [], "categories": []}', "contains no box"),
    ],
)
def test_other_json_files_are_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "labels.json"
    path.write_text(content)
    with pytest.raises(RunError, match=message) as error:
        boxes.read(str(path))
    assert "\n" not in str(error.value)


def test_other_paths_are_refused(tmp_path):
    with pytest.raises(RunError, match=r"the labels .*nowhere do not exist; pass a COCO json file"):
        boxes.read(str(tmp_path / "nowhere"))
    with pytest.raises(RunError, match="is not a COCO json file, or a folder of VOC xml"):
        boxes.read(str(tmp_path))


def test_a_tenth_of_the_images_is_kept_by_their_names(tmp_path):
    sizes = {f"{number}.jpg": (20, 20) for number in range(30)}
    objects = {name: [("cat", (1, 1, 9, 9))] for name in sizes}
    write_images(tmp_path / "images", sizes)
    labels = boxes.read(write_coco(tmp_path, objects, sizes))
    train, evaluation = boxes.split_off(labels)
    assert (len(train.images), len(evaluation.images)) == (27, 3)
    assert not {each.path for each in train.images} & {each.path for each in evaluation.images}
    again = boxes.split_off(boxes.read(write_voc(tmp_path, objects, sizes)))
    names = [[os.path.basename(each.path) for each in part.images] for part in again]
    assert names == [
        [os.path.basename(each.path) for each in part.images] for part in (train, evaluation)
    ]
    with pytest.raises(
        RunError, match="has fewer than two images with objects; pass --evaluation_labels"
    ):
        boxes.split_off(
            boxes.read(write_coco(tmp_path, {"0.jpg": objects["0.jpg"]}, {"0.jpg": (20, 20)}))
        )
