"""Exports to the Object Detection API with one's own labels."""

import json
import os

import numpy as np
import pytest
import tensorflow as tf

from pixpro_tf.data.labelled import boxes
from pixpro_tf.data.labelled.detection import open_labels
from pixpro_tf.errors import ConfigError, RunError
from pixpro_tf.export import label_map, own_labels, records
from pixpro_tf.export.commands import od_api
from pixpro_tf.export.od_api import exporting, tasks
from tests.support.labelled import NAMES, WRITERS, write_coco, write_images, write_voc

SIZES = {f"{number:02}.jpg": (60 + number, 40) for number in range(20)}
OBJECTS = {
    name: [("dog", (3, 4, 20, 30)), ("cat", (7, 1, 60, 40))][: place % 3]
    for place, name in enumerate(SIZES)
}


@pytest.fixture
def folder(tmp_path):
    write_images(tmp_path / "images", SIZES)
    return tmp_path


def written(folder, **data):
    """Returns the records of labels, by part and the name of their image, and the classes."""
    labels, parts = own_labels.open_labels(tasks.Data(**data), data.get("classes", ()))
    found = {}
    for name, each in parts.items():
        made = folder / f"records-{name}"
        made.mkdir(exist_ok=True)
        records.write_records(str(made), name, each, labels)
        (path,) = made.iterdir()
        for text in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            feature = tf.train.Example.FromString(text).features.feature
            found[name, feature["image/filename"].bytes_list.value[0].decode()] = text
    return found, labels


def test_records_are_the_same_from_all_formats(folder):
    found = [written(folder, labels=write(folder, OBJECTS, SIZES))[0] for write in WRITERS.values()]
    assert found[0] == found[1] == found[2]
    assert {name for _, name in found[0]} == set(SIZES)
    assert sum(part == "evaluation" for part, _ in found[0]) == 2


# An order that is not alphabetical, and a class without boxes.
ORDER = ("dog", "bird", "cat")


@pytest.mark.parametrize("numbers", [(1, 2, 3), (4, 6, 9)])
def test_the_same_classes_give_the_same_records_in_all_formats(folder, capsys, numbers):
    if numbers == (1, 2, 3):
        flags, origin = {"classes": ORDER}, "in the order of --classes"
    else:
        labels = tuple(label_map.Label(*each) for each in zip(numbers, ORDER, strict=True))
        (folder / "map.pbtxt").write_text(label_map.label_map(labels))
        flags = {"label_map": str(folder / "map.pbtxt")}
        origin = f"numbered by --label_map={folder}/map.pbtxt"
    found = []
    for write in WRITERS.values():
        path = write(folder, OBJECTS, SIZES, ORDER)
        found.append(written(folder, labels=path, **flags))
        names = ", ".join(f"{number} {name}" for number, name in zip(numbers, ORDER, strict=True))
        assert f"{path}: classes: {names} ({origin})\n" in capsys.readouterr().out
    assert found[0] == found[1] == found[2]
    assert [(label.id, label.name) for label in found[0][1]] == [*zip(numbers, ORDER, strict=True)]
    (text,) = (text for (_, name), text in found[0][0].items() if name == "05.jpg")
    feature = tf.train.Example.FromString(text).features.feature
    assert feature["image/object/class/label"].int64_list.value == [numbers[0], numbers[2]]


def test_without_classes_each_format_has_the_order_of_its_own_and_says_so(folder, capsys):
    found = {}
    for kind, write in WRITERS.items():
        _, labels = written(folder, labels=write(folder, OBJECTS, SIZES, ORDER))
        found[kind] = tuple(label.name for label in labels)
    assert found == {"coco": ORDER, "yolo": ORDER, "voc": ("cat", "dog")}
    printed = capsys.readouterr().out
    assert printed.count("; --classes or --label_map sets their order and adds classes") == 1


@pytest.mark.slow
def test_exports_of_the_same_classes_are_the_same_in_all_formats(folder):
    weights = str(folder / "weights.h5")
    tf.keras.applications.ResNet50(weights=None, include_top=False).save_weights(weights)
    found = []
    for kind, write in WRITERS.items():
        output = folder / kind
        flags = [f"--from={weights}", f"--output={output}", "--task=custom"]
        flags += ["--model=ssd_resnet50_v1_fpn_keras", f"--classes={','.join(ORDER)}"]
        assert od_api.main([*flags, f"--labels={write(folder, OBJECTS, SIZES, ORDER)}"]) == 0
        files = (path for path in output.rglob("*") if path.is_file())
        texts = {str(path.relative_to(output)): path.read_bytes() for path in files}
        found.append(
            {name: text for name, text in texts.items() if not name.startswith("checkpoint")}
        )
    assert found[0] == found[1] == found[2] and len(found[0]) == 5
    assert b"num_classes: 3" in found[0]["pipeline.config"]


def test_images_that_only_pillow_reads_become_png(tmp_path):
    sizes = {"a.tif": (60, 40), "b.webp": (50, 30), "c.jpg": (40, 40)}
    write_images(tmp_path / "images", sizes)
    objects = {name: [("dog", (3, 4, 20, 30)), ("cat", (0, 0, 9, 9))] for name in sizes}
    path = write_coco(tmp_path, objects, sizes)
    found, _ = written(tmp_path, labels=path, evaluation_labels=path)
    for name, (width, height) in sizes.items():
        feature = tf.train.Example.FromString(found["train", name]).features.feature
        kind = feature["image/format"].bytes_list.value
        assert kind == [b"jpeg" if name == "c.jpg" else b"png"]
        image = tf.io.decode_image(feature["image/encoded"].bytes_list.value[0])
        assert image.shape == [height, width, 3]
        assert np.abs(image.numpy().astype(int) - [200, 100, 50]).max() <= 3


def test_label_maps_of_protobuf_are_read(tmp_path, monkeypatch):
    # As `text_format.MessageToString` writes it.
    text = 'item {\n  name: "K\\303\\244fer\\n\\"x\\""\n  id: 1\n}\n'
    (tmp_path / "map.pbtxt").write_text(text)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert label_map.read_label_map("~/map.pbtxt") == label_map.number(['Käfer\n"x"'])


def test_names_in_a_label_map_may_contain_any_character(tmp_path):
    names = ("C#", "a } b", "item {", 'say "id: 7"', "it's", "back\\slash")
    labels = label_map.number(names)
    (tmp_path / "map.pbtxt").write_text(f"# comment\n{label_map.label_map(labels)}# end }}\n")
    assert label_map.read_label_map(str(tmp_path / "map.pbtxt")) == labels


def test_records_contain_the_boxes_and_the_numbers_of_the_label_map(folder):
    path = folder / "map.pbtxt"
    path.write_text(label_map.label_map((label_map.Label(4, "dog"), label_map.Label(9, "cat"))))
    labels = write_coco(folder, OBJECTS, SIZES)
    found, classes = written(folder, labels=labels, evaluation_labels=labels, label_map=str(path))
    assert [(label.id, label.name) for label in classes] == [(4, "dog"), (9, "cat")]
    assert len(found) == 2 * len(SIZES)
    feature = tf.train.Example.FromString(found["train", "05.jpg"]).features.feature
    assert feature["image/object/class/label"].int64_list.value == [4, 9]
    assert feature["image/object/class/text"].bytes_list.value == [b"dog", b"cat"]
    assert feature["image/object/is_crowd"].int64_list.value == [0, 0]
    sides = [feature[f"image/object/bbox/{side}"] for side in ("ymin", "xmin", "ymax", "xmax")]
    boxes = np.stack([side.float_list.value for side in sides], axis=1)
    expected = np.array([[4, 3, 30, 20], [1, 7, 40, 60]]) / [40, 65, 40, 65]
    np.testing.assert_allclose(boxes, expected, rtol=1e-6)
    with open(folder / "images" / "05.jpg", "rb") as file:
        assert feature["image/encoded"].bytes_list.value == [file.read()]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"task": "voc", "labels": "a.json"}, "--labels requires --task=custom"),
        (
            {"labels": "a.json", "dataset": "scenes/128"},
            "--dataset and --labels cannot be combined",
        ),
        (
            {"labels": "a.json", "classes": ("cat",), "label_map": "map.pbtxt"},
            "--classes and --label_map cannot be combined",
        ),
        ({}, "--task=custom requires classes; .* or --labels"),
        ({"labels": "a.json", "data_dir": "data"}, "--data_dir and --labels cannot be combined"),
    ],
)
def test_flags_that_exclude_one_another_are_refused(data, said):
    task = data.pop("task", "custom")
    with pytest.raises(ConfigError, match=said):
        exporting._check_data(task, tasks.Data(**data))


@pytest.mark.slow
def test_a_folder_for_the_api_is_written_from_published_weights_and_own_labels(folder, capsys):
    weights = str(folder / "weights.h5")
    tf.keras.applications.ResNet50(weights=None, include_top=False).save_weights(weights)
    output = folder / "detector"
    objects = OBJECTS | {"05.jpg": OBJECTS["05.jpg"] * 60}
    labels = write_coco(folder, objects, SIZES)
    flags = [f"--from={weights}", f"--output={output}", "--task=custom", f"--labels={labels}"]
    assert od_api.main([*flags, "--model=ssd_resnet50_v1_fpn_keras"]) == 0
    printed = capsys.readouterr().out
    assert f"{labels}: images: 20, boxes: 137, classes: 2" in printed
    assert "images for training: 18, for evaluation: 2" in printed
    config = (output / "pipeline.config").read_text()
    assert "num_classes: 2" in config and "max_number_of_boxes: 120" in config
    assert label_map.read_label_map(str(output / "label_map.pbtxt")) == label_map.number(NAMES)
    assert "18 images for training, 2 for evaluation" in (output / "README.md").read_text()
    assert sorted(os.listdir(output / "records")) == [
        "evaluation-00000-of-00001.tfrecord",
        "train-00000-of-00001.tfrecord",
    ]


@pytest.mark.parametrize("flag", ["labels", "images", "label_map", "from"])
def test_an_export_never_replaces_what_it_reads(folder, capsys, flag):
    labels = write_coco(folder, OBJECTS, SIZES)
    flags = {"from": "weights.h5", "labels": labels, "output": str(folder), "task": "custom"}
    flags |= {"model": "ssd_resnet50_v1_fpn_keras"}
    if flag == "from":
        (folder / "preset").mkdir()
        flags |= {"from": f"keras_hub:{folder}/preset", "labels": "elsewhere.json"}
    elif flag != "labels":
        flags |= {"labels": "elsewhere.json", flag: str(folder / "images")}
    code = od_api.main([*(f"--{name}={value}" for name, value in flags.items()), "--overwrite"])
    assert code == 2
    assert "would replace" in capsys.readouterr().err
    assert (folder / "images").is_dir()


def test_crowds_are_evaluated_but_not_trained_on(folder):
    path = write_coco(folder, OBJECTS, SIZES)
    with open(path) as file:
        content = json.load(file)
    for annotation in content["annotations"][::2]:
        annotation["iscrowd"] = 1
    with open(path, "w") as file:
        json.dump(content, file)
    found, _ = written(folder, labels=path, evaluation_labels=path)
    crowds = {"train": [], "evaluation": []}
    for (part, _), text in found.items():
        feature = tf.train.Example.FromString(text).features.feature
        crowds[part] += feature["image/object/is_crowd"].int64_list.value
    assert crowds["train"] == [0] * 9 and sorted(crowds["evaluation"]) == [0] * 9 + [1] * 10


def test_display_names_of_the_maps_of_the_api_are_the_classes(folder):
    """Its maps of COCO and Open Images name the classes by identifiers, and show other names."""
    path = folder / "map.pbtxt"
    items = (
        "item { name: '/m/01g317' id: 1 display_name: 'cat' }",
        "item { name: 'dog' id: 7 display_name: 'Dog' }",
    )
    path.write_text("\n".join(items))
    assert label_map.read_label_map(str(path)) == (
        label_map.Label(1, "cat"),
        label_map.Label(7, "dog"),
    )


def test_difficult_objects_are_trained_on_and_not_evaluated(folder):
    labels = write_voc(folder, OBJECTS, SIZES)
    for file in os.listdir(labels):
        path = os.path.join(labels, file)
        with open(path) as opened:
            text = opened.read()
        with open(path, "w") as opened:
            opened.write(
                text.replace("<object><name>dog", "<object><difficult>1</difficult><name>dog")
            )
    _, evaluation, _ = boxes.read_parts(labels)
    data = open_labels(*boxes.read_parts(labels)[:2], image_size=64)
    crowds = {
        name: np.concatenate([each["crowds"] for each in data.split(name).as_numpy_iterator()])
        for name in ("train", "evaluation")
    }
    assert not crowds["train"].any()
    difficult = np.concatenate([image.difficult for image in evaluation.images])
    np.testing.assert_array_equal(crowds["evaluation"], difficult)
    assert difficult.any() and not difficult.all()
    found, _ = written(folder, labels=labels)
    for (part, _), text in found.items():
        feature = tf.train.Example.FromString(text).features.feature
        marked, hard = (
            list(feature[f"image/object/{name}"].int64_list.value)
            for name in ("is_crowd", "difficult")
        )
        assert marked == (hard if part == "evaluation" else [0] * len(hard))


@pytest.mark.parametrize("name", [r"parts\xtra", r"a\u12", r"\N{x}"])
def test_an_invalid_escape_in_a_label_map_is_reported_in_one_line(tmp_path, name):
    path = tmp_path / "map.pbtxt"
    path.write_text(f'item {{ id: 1 name: "{name}" }}')
    with pytest.raises(RunError, match="has a name with an invalid escape") as raised:
        label_map.read_label_map(str(path))
    assert "\n" not in str(raised.value)
