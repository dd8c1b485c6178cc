"""Tests of classification by a linear layer and by nearest neighbours, on images whose classes are colours."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image
from sklearn.neighbors import KNeighborsClassifier

from pixpro_tf.data.labelled import classification, order
from pixpro_tf.errors import ConfigError, RunError
from pixpro_tf.evaluation import linear
from pixpro_tf.evaluation.classification import evaluation
from pixpro_tf.evaluation.classification.neighbours import neighbour_votes
from pixpro_tf.export import savedmodel
from tests.support.models import make_run

COLOURS = {
    "red": (200, 40, 40),
    "green": (40, 200, 40),
    "blue": (40, 40, 200),
    "grey": (120, 120, 120),
    "white": (230, 230, 230),
    "black": (20, 20, 20),
}


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """Folder of images of six colours and different sizes."""
    folder = tmp_path_factory.mktemp("colours")
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("validation", 4)):
        for name, colour in COLOURS.items():
            (folder / split / name).mkdir(parents=True)
            for index in range(count):
                shape = [*rng.integers(24, 48, 2), 3]
                image = np.array(colour) + rng.integers(-20, 25, shape)
                image = Image.fromarray(image.astype(np.uint8))
                image.save(folder / split / name / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"), backbone="resnet10")


def settings_of(colours, source="random:resnet10", **settings):
    return linear.Settings(
        source=str(source),
        dataset=f"folder:{colours}",
        **{"image_size": 32, "batch_size": 12} | settings,
    )


@pytest.mark.slow
def test_a_linear_layer_on_random_features_separates_colours(colours, tmp_path, capsys):
    output = tmp_path / "found"
    flags = ["--image_size=32", "--batch_size=12", "--epochs=10", "--rate=0.5"]
    source = ["--from=random:resnet10", f"--dataset=folder:{colours}", f"--output={output}"]
    assert linear.main([*source, *flags]) == 0
    printed = capsys.readouterr().out
    found = json.loads((output / "results.json").read_text())
    assert found["top_1"] > 0.6 and found["top_5"] >= found["top_1"]
    assert found["images"] == 24
    np.testing.assert_allclose(np.mean(list(found["class_top_1"].values())), found["top_1"])
    assert set(found["class_top_1"]) == set(COLOURS)
    assert f"top-1 {100 * found['top_1']:.2f} %" in printed


@pytest.mark.slow
def test_epochs_and_learning_rate_change_the_scores(colours):
    few, many = (evaluation.evaluate(settings_of(colours, epochs=epochs)) for epochs in (1, 12))
    assert many.top_1 > few.top_1
    slow = evaluation.evaluate(settings_of(colours, epochs=1, rate=1e-9))
    assert slow.class_top_1 != few.class_top_1


@pytest.mark.slow
@pytest.mark.parametrize("mode", [{"mode": "knn", "neighbours": 3}, {"epochs": 2, "rate": 1.0}])
def test_a_run_and_its_export_give_the_same_numbers(colours, run, tmp_path, mode):
    savedmodel.export(str(run), str(tmp_path / "exported"), allow_unfinished=True)
    first, second = (
        evaluation.evaluate(settings_of(colours, source, **mode))
        for source in (run, tmp_path / "exported")
    )
    assert first == second


def test_nearest_neighbours_separate_colours(colours):
    result = evaluation.evaluate(settings_of(colours, mode="knn", neighbours=5))
    assert result.top_1 > 0.6


@pytest.mark.parametrize("temperature", [0.0, 0.07, 0.001])
@pytest.mark.parametrize("neighbours", [1, 7, 40])
def test_votes_match_those_of_scikit_learn(temperature, neighbours):
    rng = np.random.default_rng(1)
    known, features = (rng.normal(size=[count, 9]).astype(np.float32) for count in (300, 290))
    labels = rng.integers(0, 6, 300)

    def weights(distances):
        if not temperature:
            return np.ones_like(distances)
        return np.exp((distances[:, :1] - distances) / temperature)

    reference = KNeighborsClassifier(neighbours, weights=weights, metric="cosine")
    expected = reference.fit(known.astype(np.float64), labels).predict_proba(features)
    votes = neighbour_votes(features, known, labels, 6, neighbours, temperature)
    if temperature >= 0.07 or not temperature:
        np.testing.assert_allclose(votes, expected, atol=1e-6)
    else:
        # The cosines are rounded to float32, and the rounding error is a ten-thousandth of this temperature.
        np.testing.assert_allclose(votes, expected, atol=1e-3)
    np.testing.assert_array_equal(votes.argmax(axis=1), expected.argmax(axis=1))


def test_the_learning_rate_is_divided_by_10_after_60_and_80_percent_of_the_epochs():
    schedule = evaluation.rate_schedule(30.0, epochs=10, epoch_steps=7)
    found = [float(schedule(step)) for step in (0, 42, 43, 56, 57, 69)]
    np.testing.assert_allclose(found, [30, 30, 3, 3, 0.3, 0.3], rtol=1e-6)


@pytest.mark.parametrize("mode", ["linear", "knn"])
@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_split_without_classes_is_rejected_before_anything_is_computed(
    colours, monkeypatch, split, mode
):
    opened = evaluation.open_classification

    def without_classes(*arguments):
        data = opened(*arguments)

        def examples(name):
            found = data.split(name)
            return (
                found.map(lambda image, label: (image, label * 0 - 1)) if name == split else found
            )

        return dataclasses.replace(data, split=examples)

    monkeypatch.setattr(evaluation, "open_classification", without_classes)
    monkeypatch.setattr(evaluation, "load_backbone", lambda *_: pytest.fail("computes"))
    with pytest.raises(
        ConfigError, match=f"split={split} of folder:.* contains images without a class"
    ):
        evaluation.evaluate(settings_of(colours, mode=mode))


def test_a_split_without_classes_is_rejected():
    batches = tf.data.Dataset.from_tensors((tf.zeros([2, 3]), tf.constant([1, -1])))
    with pytest.raises(RunError, match="without a class"):
        evaluation._features(lambda images: images, batches)


def test_a_class_without_a_vote_is_none_of_the_first_five():
    """With a single neighbour, whatever the order of the classes, top-5 is top-1."""
    votes = np.full([10, 10], -np.inf)
    votes[:, 7] = 1
    result = evaluation._result(list("abcdefghij"), votes, np.arange(10))
    assert result.top_1 == result.top_5 == 0.1


def test_nearest_neighbours_vote_for_their_classes_only(colours):
    result = evaluation.evaluate(settings_of(colours, mode="knn", neighbours=1))
    assert result.top_5 == result.top_1


def test_training_and_evaluating_on_the_same_images_is_said(colours, capsys):
    evaluation.evaluate(settings_of(colours, mode="knn", neighbours=3, split="train"))
    assert "--split=train contains images of --train_split=train" in capsys.readouterr().out


def test_diverged_training_has_no_score(colours):
    with pytest.raises(RunError, match=r"the loss is .* after step .*; use a lower --rate"):
        evaluation.evaluate(settings_of(colours, epochs=2, rate=3e38))


def test_a_class_without_images_has_no_score():
    scores = np.array([[0.1, 0.9, 0.0], [0.8, 0.1, 0.1]])
    result = evaluation._result(["a", "b", "c"], scores, np.array([1, 1]))
    assert result.top_1 == 0.5 and result.top_5 is None
    assert result.class_top_1 == {"a": None, "b": 0.5, "c": None}


def test_the_fifth_choice_counts_for_top_5_and_the_sixth_does_not():
    # Class 0 is the first choice, class 5 the last.
    scores = np.tile([0.6, 0.5, 0.4, 0.3, 0.2, 0.1], (4, 1))
    result = evaluation._result(list("abcdef"), scores, np.array([0, 4, 4, 5]))
    assert result.top_1 == 0.25 and result.top_5 == 0.75


def test_ties_go_to_the_first_class():
    result = evaluation._result(["a", "b"], np.array([[0.5, 0.5]]), np.array([0]))
    assert result.top_1 == 1.0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--mode=knn", "--neighbours=100"],
            "--neighbours=100 is greater than the number of images in --train_split=train (72)",
        ),
        (
            ["--batch_size=100"],
            "--batch_size=100 is greater than the number of images in --train_split=train (72)",
        ),
        (["--split=nowhere"], "'nowhere' is not a split of folder:"),
        (["--min_crop_area=2"], "--min_crop_area=2.0 is too large; the maximum is 1"),
        (["--mode=knn", "--neighbours=0"], "--neighbours=0 is too small"),
        (["--neighbours=5"], "--neighbours=5 is unused with --mode=linear"),
        (["--mode=knn", "--rate=1"], "--rate=1.0 is unused with --mode=knn"),
        (
            ["--dataset=folder:/not/there"],
            "cannot be read: /not/there does not exist; use an existing folder",
        ),
        (["--dataset=scenes/128"], "does not have one class for each image"),
    ],
)
def test_mistakes_are_reported_in_one_line(colours, scenes_dir, capsys, flags, message):
    source = ["--from=random:resnet10", f"--dataset=folder:{colours}", f"--data_dir={scenes_dir}"]
    assert linear.main([*source, "--image_size=32", *flags]) != 0
    lines = capsys.readouterr().err.strip().splitlines()
    # Rendering the scenes prints progress lines too.
    (error,) = (line for line in lines if not line.startswith("Render"))
    assert message in error and error.startswith("error: ")


def test_a_folder_without_images_is_rejected(tmp_path, capsys):
    (tmp_path / "train" / "red").mkdir(parents=True)
    assert linear.main(["--from=random:resnet10", f"--dataset=folder:{tmp_path}"]) != 0
    assert "SPLIT/CLASS/NAME.jpg" in capsys.readouterr().err


def test_classes_of_a_folder_are_mixed(colours):
    from pixpro_tf.data.labelled.classification import open_classification

    data = open_classification(f"folder:{colours}")
    labels = [int(label) for _, label in data.split("train")]
    assert sorted(labels) == sorted(12 * [*range(len(COLOURS))])
    assert labels == [int(label) for _, label in data.split("train")]
    # Also in a part of a split, and in every stretch of it.
    assert len({int(label) for _, label in data.split("train[:50%]")}) == len(COLOURS)
    assert all(len(set(labels[start : start + 12])) > 3 for start in range(0, len(labels) - 12, 6))


def test_large_images_are_not_shuffled_in_a_large_buffer(monkeypatch):
    from pixpro_tf.data.labelled import classification

    buffers = []
    shuffle = tf.data.Dataset.shuffle

    def recorded(self, size, **options):
        buffers.append(size)
        return shuffle(self, size, **options)

    monkeypatch.setattr(tf.data.Dataset, "shuffle", recorded)
    monkeypatch.setattr(order, "_BYTES", 10_000)
    images = np.zeros([8, 20, 24, 3], np.uint8)
    examples = tf.data.Dataset.from_tensor_slices((images, np.arange(8)))
    classification.random_views(examples, 16, 4, 0.3, 0)
    assert buffers == [1 + 10_000 // (20 * 24 * 3)]


def test_central_views_show_seven_eighths_of_the_shorter_side():
    pixels = np.random.default_rng(0).integers(0, 256, [64, 96, 3], np.uint8)
    examples = tf.data.Dataset.from_tensors((pixels, np.int64(3)))
    ((views, labels),) = classification.central_views(examples, 28, 4)
    centre = (
        Image.fromarray(pixels).crop((20, 4, 76, 60)).resize((28, 28), Image.Resampling.BILINEAR)
    )
    np.testing.assert_allclose(views[0].numpy().astype(int), np.asarray(centre).astype(int), atol=2)
    assert labels.numpy().tolist() == [3]


@pytest.mark.parametrize("smallest", [0.08, 0.9])
def test_random_views_have_at_least_the_smallest_area(smallest):
    """The values of a ramp tell which part of the image a view shows."""
    rows, columns = np.meshgrid(np.arange(200), np.arange(200), indexing="ij")
    pixels = np.stack([rows, columns, rows], axis=2).astype(np.uint8)
    examples = tf.data.Dataset.from_tensors((pixels, np.int64(0))).repeat(8)
    views, _ = next(iter(classification.random_views(examples, 40, 64, smallest, 0)))
    spans = [
        np.ptp(views[..., channel].numpy().astype(float), axis=(1, 2)) * 40 / 39
        for channel in (0, 1)
    ]
    areas = spans[0] * spans[1] / 200**2
    # Values are rounded, and resized at the edges.
    assert areas.min() > smallest - 0.04
    assert (areas.min() < 0.4) == (smallest < 0.5)


def test_random_views_are_a_function_of_the_seed():
    from pixpro_tf.data.labelled.classification import random_views

    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, [8, 20, 24, 3], np.uint8)
    examples = tf.data.Dataset.from_tensor_slices((images, np.arange(8)))
    first, again, other = (
        next(iter(random_views(examples, 16, 4, 0.3, seed)))[0].numpy() for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)


@pytest.mark.slow
def test_images_of_tfds_are_decoded_as_all_others(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, [4, 12, 16, 1], np.uint8)
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
            "label": tfds.features.ClassLabel(names=["a", "b"]),
        }
    )
    examples = tf.data.Dataset.from_tensor_slices({"image": pixels, "label": [0, 1, 0, 1]})
    tfds.dataset_builders.store_as_tfds_dataset(
        "pixpro_labelled",
        "1.0.0",
        features=features,
        split_datasets={"train": examples},
        data_dir=str(tmp_path),
    )
    data = classification.open_classification("pixpro_labelled", str(tmp_path))
    found = list(data.split("train").as_numpy_iterator())
    assert data.class_names == ("a", "b") and sorted(label for _, label in found) == [0, 0, 1, 1]
    # Greyscale images get three equal channels.
    images = sorted(image[..., 0].tobytes() for image, _ in found)
    assert images == sorted(image[..., 0].tobytes() for image in pixels)
    assert all(image.shape == (12, 16, 3) for image, _ in found)
    part = data.split("train[:50%]")
    assert len(list(part)) == 2


def test_folders_inside_of_classes_are_counted(colours, tmp_path, capsys):
    shutil.copytree(colours, tmp_path / "data")
    (tmp_path / "data" / "train" / "red" / "dark").mkdir()
    classification.open_classification(f"folder:{tmp_path / 'data'}")
    line = f"Skipped folders inside of classes: 1 (such as {tmp_path}/data/train/red/dark)"
    assert line in capsys.readouterr().out
