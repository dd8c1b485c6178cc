"""Detection evaluated on one's own labels: images of different sizes, crowds, and flags."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pixpro_tf.backbones import resnet
from pixpro_tf.data.labelled import boxes
from pixpro_tf.data.labelled import detection as data
from pixpro_tf.evaluation import detection
from pixpro_tf.evaluation.object_detection import detector, evaluation
from pixpro_tf.evaluation.object_detection.coco import Objects, average_precision
from pixpro_tf.evaluation.object_detection.detector import Detector, assign
from tests.support.labelled import WRITERS, write_coco, write_images

MEAN = np.round(255 * np.array([0.485, 0.456, 0.406]))


def test_an_image_is_fitted_into_a_square_with_its_boxes():
    image = np.full([40, 60, 3], 200, np.uint8)
    found, placed = data.letterboxed(tf.constant(image), tf.constant([[0.0, 6, 40, 60]]), 96)
    assert found.shape == [96, 96, 3] and found.dtype == tf.uint8
    np.testing.assert_array_equal(found[:64], 200)
    np.testing.assert_array_equal(found[64:], np.broadcast_to(MEAN, [32, 96, 3]))
    np.testing.assert_allclose(placed, [[0, 9.6, 64, 96]], rtol=1e-6)


@pytest.mark.parametrize("shape", [(1, 500), (500, 1), (31, 47), (64, 64), (3, 2)])
def test_every_shape_is_fitted(shape):
    image = tf.zeros([*shape, 3], tf.uint8)
    found, placed = data.letterboxed(image, tf.constant([[0.0, 0, *shape]]), 64)
    assert found.shape == [64, 64, 3]
    # The box of the whole image ends where the image ends.
    inside = np.any(found.numpy() != MEAN, axis=-1)
    height, width = map(int, np.round(placed[0, 2:]))
    assert max(height, width) == 64 and inside[:height, :width].all()
    assert inside.sum() == height * width


def test_detections_inside_a_crowd_do_not_count():
    one, many = [0.0, 0, 10, 10], [20.0, 20, 90, 90]
    truth = Objects(np.array([one, many]), np.array([0, 0]), crowds=np.array([False, True]))
    guesses = np.array([one, [21.0, 21, 40, 40], [50.0, 50, 80, 80]])
    found = Objects(guesses, np.array([0, 0, 0]), np.array([0.5, 0.9, 0.8]))
    assert average_precision([truth], [found], ["thing"]).ap == pytest.approx(1.0)
    alone = dataclasses.replace(truth, crowds=np.array([False, False]))
    assert average_precision([alone], [found], ["thing"]).ap < 0.5


def test_precision_is_the_same_in_the_square_as_in_the_image():
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 200, [2, 30, 2])
    places = np.concatenate([corners.min(axis=0), corners.max(axis=0) + 1], axis=1)
    moved = places + rng.normal(0, 8, places.shape)
    labels, scores = rng.integers(0, 2, 30), rng.uniform(size=30)
    found = [
        average_precision(
            [Objects(places * scale, labels)], [Objects(moved * scale, labels, scores)], ["a", "b"]
        )
        for scale in (1.0, np.array([0.3, 0.31, 0.3, 0.31]))
    ]
    assert 0.05 < found[0].ap < 0.95
    assert found[0].ap == pytest.approx(found[1].ap, abs=1e-6)


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    """Folder of images of different sizes, each with a red and a blue square, and their objects and sizes."""
    folder = tmp_path_factory.mktemp("squares")
    rng = np.random.default_rng(0)
    sizes, objects = {}, {}
    write_images(folder / "images", {})
    for number in range(6):
        name = f"{number}.png"
        width, height = sizes[name] = (120 + 30 * number, 200 - 20 * number)
        image = np.full([height, width, 3], 128, np.uint8)
        objects[name] = []
        for kind, channel in (("cat", 0), ("dog", 2)):
            side = 40
            x0 = int(rng.integers(0, width // 2 - side)) + (width // 2) * (kind == "dog")
            y0 = int(rng.integers(0, height - side))
            image[y0 : y0 + side, x0 : x0 + side] = 0
            image[y0 : y0 + side, x0 : x0 + side, channel] = 255
            objects[name].append((kind, (x0, y0, x0 + side, y0 + side)))
        Image.fromarray(image).save(folder / "images" / name)
    return folder, objects, sizes


@pytest.mark.slow
def test_all_formats_give_the_same_precision(squares):
    folder, objects, sizes = squares
    scores = []
    for write in WRITERS.values():
        settings = detection.Settings(
            source="random:resnet10w0.5",
            # An order that is not alphabetical, and a class without boxes.
            labels=write(folder, objects, sizes, ("dog", "bird", "cat")),
            classes="dog,bird,cat",
            image_size=64,
            batch_size=2,
            epochs=2,
        )
        scores.append(evaluation.evaluate(settings).scores)
    assert scores[0] == scores[1] == scores[2]
    assert list(scores[0].class_ap) == ["dog", "bird", "cat"] and scores[0].class_ap["bird"] is None


@pytest.mark.slow
def test_a_detector_fits_images_of_different_sizes(squares, tmp_path, capsys):
    folder, objects, sizes = squares
    path = write_coco(folder, objects, sizes)
    output = tmp_path / "found"
    flags = ["--from=random:resnet10w0.5", f"--labels={path}", f"--evaluation_labels={path}"]
    flags += ["--image_size=128", "--batch_size=6", "--epochs=60", f"--output={output}"]
    assert detection.main(flags) == 0
    printed = capsys.readouterr().out
    assert f"{path}: images: 6, boxes: 12, classes: 2" in printed
    assert f"{path}: classes: 1 cat, 2 dog (in the order of their ids)\n" in printed
    found = json.loads((output / "results.json").read_text())
    assert found["ap_50"] > 0.6
    assert set(found["class_ap"]) == {"cat", "dog"}
    with Image.open(output / "detections.png") as picture:
        assert min(picture.size) > 300


def test_batches_hold_the_boxes_of_each_image(squares):
    folder, objects, sizes = squares
    labels = boxes.read(write_coco(folder, objects, sizes))
    opened = data.open_labels(labels, labels, 64)
    (batch,) = data.object_batches(opened.split("train"), 6, opened.prepare)
    assert batch["image"].shape == [6, 64, 64, 3] and batch["boxes"].shape == [6, 2, 4]
    assert not np.any(batch["crowds"])
    for image, places, kinds in zip(
        *(batch[key].numpy() for key in ("image", "boxes", "labels")), strict=True
    ):
        for (y0, x0, y1, x1), kind in zip(places, kinds, strict=True):
            centre = image[int((y0 + y1) / 2), int((x0 + x1) / 2)]
            assert centre[[0, 2][kind]] > 240 and centre.min() < 15


def test_a_batch_of_images_without_objects_has_a_row_of_padding(squares):
    folder, objects, sizes = squares
    labels = boxes.read(write_coco(folder, {"5.png": objects["5.png"]}, sizes))
    opened = data.open_labels(labels, labels, 64)
    batch = next(iter(data.object_batches(opened.split("train"), 2, opened.prepare)))
    assert batch["boxes"].shape == [2, 1, 4]
    np.testing.assert_array_equal(batch["labels"], [[data.NO_OBJECT]] * 2)
    bins = Detector(resnet.build("resnet10w0.5"), 2).bins(64, 64)
    assert np.all(assign(bins, batch["boxes"], batch["labels"]).labels == data.NO_OBJECT)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "images with boxes are missing; pass --dataset or --labels"),
        (["--dataset=scenes/128", "--labels=a.json"], "--dataset and --labels cannot be combined"),
        (["--labels=a.json", "--split=test"], "--split=test is unused with --labels=a.json"),
        (["--dataset=scenes/128", "--image_size=64"], "--image_size=64 is unused without --labels"),
        (["--labels=nowhere.json"], "the labels nowhere.json do not exist"),
    ],
)
def test_mistakes_in_flags_are_reported_in_one_line(capsys, flags, message):
    assert detection.main(["--from=random:resnet10", *flags]) != 0
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in error and error.startswith("error: ")


def test_results_never_replace_what_they_are_made_from(squares, capsys):
    folder, objects, sizes = squares
    path = write_coco(folder, objects, sizes)
    flags = [f"--labels={path}", f"--output={folder}", "--overwrite"]
    assert detection.main(["--from=random:resnet10", *flags]) == 2
    assert "would replace" in capsys.readouterr().err and (folder / "images").is_dir()


class Stop(Exception):
    pass


CROWDED = {
    "image": tf.zeros([1, 64, 64, 3]),
    "boxes": tf.constant([[[4.0, 4.0, 28.0, 20.0], [30.0, 34.0, 62.0, 60.0]]]),
    "labels": tf.constant([[1, 0]], tf.int64),
    "crowds": tf.constant([[False, True]]),
}


@pytest.mark.parametrize("seed", [0, 5])
def test_crowds_are_no_targets_and_the_seed_is_used_everywhere(monkeypatch, seed):
    seeds, targets = [], []
    monkeypatch.setattr(evaluation.tf.keras.utils, "set_random_seed", seeds.append)

    def batches(examples, batch_size, seed, prepare):
        seeds.append(seed)
        return tf.data.Dataset.from_tensors(CROWDED)

    def assign(bins, boxes, labels):
        targets.append(labels)
        raise Stop

    monkeypatch.setattr(evaluation, "random_object_batches", batches)
    monkeypatch.setattr(evaluation, "assign", assign)
    monkeypatch.setattr(
        evaluation.training_steps,
        "run",
        lambda step, batches, *_: step.python_function(next(iter(batches))),
    )
    settings = detection.Settings(source="random:resnet10w0.5", labels="a.json", seed=seed)
    found = data.DetectionData("a.json", ("cat", "dog"), lambda name: None)
    opened = evaluation.Opened(found, tf.data.Dataset.range(8), tf.data.Dataset.range(8))
    with pytest.raises(Stop):
        evaluation.evaluate(settings, opened=opened)
    assert seeds == [seed, seed]
    np.testing.assert_array_equal(targets[0], [[1, data.NO_OBJECT]])


def test_crowds_reach_the_score(monkeypatch):
    """A detection inside a crowd of its class counts neither as right nor as wrong."""
    inside = detector.Detections(
        CROWDED["boxes"],
        tf.constant([[1, 0]], tf.int64),
        tf.constant([[0.5, 0.9]]),
        tf.constant([2]),
    )
    monkeypatch.setattr(evaluation, "_finder", lambda *_: lambda images: inside)
    batches = tf.data.Dataset.from_tensors(CROWDED)
    scores = evaluation.score(None, batches, ("cat", "dog"))
    assert scores.ap == pytest.approx(1) and scores.class_ap["cat"] is None
