"""Tests of the detection command on scenes, with runs, exports and random weights."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pixpro_tf.data.labelled import detection as data
from pixpro_tf.data.labelled.detection import NO_OBJECT
from pixpro_tf.errors import ConfigError
from pixpro_tf.evaluation import detection
from pixpro_tf.evaluation.object_detection import evaluation
from pixpro_tf.export import savedmodel
from tests.support.models import make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run that pre-trained an FPN and a dense head too."""
    return make_run(
        tmp_path_factory.mktemp("run"),
        backbone="resnet10",
        pixel_levels="p3,p4,p5",
        fpn_channels=16,
        dense_head_layers=1,
        output_stride=32,
        image_size=64,
    )


def settings_of(scenes_dir, source="random:resnet10", **settings):
    return detection.Settings(
        source=str(source),
        dataset="scenes/128",
        **{"data_dir": str(scenes_dir), "train_split": "train[:8]", "split": "train[:8]"}
        | {"batch_size": 4, "epochs": 1}
        | settings,
    )


def test_objects_of_scenes_have_valid_boxes_and_labels(scenes_dir):
    examples = data.open_detection("scenes/128", str(scenes_dir)).split("validation[:5]")
    (batch,) = data.object_batches(examples, 5)
    assert batch["image"].shape == [5, 128, 128, 3]
    counts = np.sum(batch["labels"] != NO_OBJECT, axis=1)
    assert counts.min() >= 1 and batch["boxes"].shape == [5, counts.max(), 4]
    real = batch["boxes"].numpy()[batch["labels"] != NO_OBJECT]
    assert real.min() >= 0 and real.max() <= 128 and np.all(real[:, 2:] - real[:, :2] >= 1)
    assert set(batch["labels"].numpy()[batch["labels"] != NO_OBJECT]) <= set(range(4, 10))


def test_random_batches_are_a_function_of_the_seed(scenes_dir):
    examples = data.open_detection("scenes/128", str(scenes_dir)).split("train[:8]")
    first, again, other = (
        list(data.random_object_batches(examples, 4, seed).take(3).as_numpy_iterator())
        for seed in (1, 1, 2)
    )
    for one, two in zip(first, again, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], two[name])
    assert any(np.any(a["image"] != b["image"]) for a, b in zip(first, other, strict=True))


@pytest.mark.slow
def test_a_detector_fits_its_training_images(scenes_dir, tmp_path, capsys):
    output = tmp_path / "found"
    flags = [
        "--from=random:resnet10",
        "--dataset=scenes/128",
        f"--data_dir={scenes_dir}",
        "--train_split=train[:4]",
        "--split=train[:4]",
        "--batch_size=4",
        "--epochs=50",
        f"--output={output}",
    ]
    assert detection.main(flags) == 0
    printed = capsys.readouterr().out
    found = json.loads((output / "results.json").read_text())
    assert found["ap_50"] > 0.6 and found["ap"] <= found["ap_50"]
    assert f"{100 * found['ap']:.2f}" in printed
    with Image.open(output / "detections.png") as picture:
        assert min(picture.size) > 300


@pytest.mark.slow
def test_a_run_and_its_export_give_the_same_detector(scenes_dir, run, tmp_path):
    savedmodel.export(str(run), str(tmp_path / "exported"), allow_unfinished=True)
    first, second = (
        evaluation.evaluate(settings_of(scenes_dir, source))
        for source in (run, tmp_path / "exported")
    )
    assert first.detector.fpn.channels == 16
    assert [tower.num_layers for tower in first.detector.towers] == [1, 1]
    for one, two in zip(first.detector.variables, second.detector.variables, strict=True):
        np.testing.assert_array_equal(one, two)
    assert first.scores == second.scores


@pytest.mark.slow
def test_training_changes_every_variable(scenes_dir):
    settings = settings_of(
        scenes_dir, channels=8, head_layers=1, epochs=2, train_split="train[:32]", batch_size=16
    )
    trained = evaluation.evaluate(settings).detector
    tf.keras.utils.set_random_seed(settings.seed)
    from pixpro_tf.evaluation.object_detection.detector import Detector
    from pixpro_tf.evaluation.sources import load_backbone_and_neck

    backbone, neck = load_backbone_and_neck("random:resnet10")
    before = Detector(backbone, 10, channels=8, head_layers=1, neck=neck)
    assert len(trained.trainable_variables) == len(before.trainable_variables)
    for one, two in zip(trained.trainable_variables, before.trainable_variables, strict=True):
        assert np.any(one.numpy() != two.numpy()), one.name


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--split=nowhere"], "'nowhere' is not a split of scenes/128"),
        (["--dataset=imagenet2012"], "has not been prepared"),
        (["--rate=0"], "--rate=0.0 must be greater than 0"),
        (["--from=random:vgg"], "--from=random:vgg is not a known backbone"),
    ],
)
def test_mistakes_are_reported_in_one_line(scenes_dir, capsys, flags, message):
    source = ["--from=random:resnet10", "--dataset=scenes/128", f"--data_dir={scenes_dir}"]
    assert detection.main([*source, *flags]) != 0
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in error and error.startswith("error: ")


@pytest.mark.slow
def test_a_split_without_objects_is_rejected_before_training(monkeypatch):
    crowd = {"crowds": [True], "labels": [0], "boxes": [[0.0, 0, 9, 9]]}
    examples = tf.data.Dataset.from_tensors(crowd)
    opened = data.DetectionData("scenes/128", ("thing",), lambda split: examples)
    monkeypatch.setattr(evaluation, "open_detection", lambda *_: opened)
    settings = detection.Settings(source="random:resnet10", dataset="scenes/128", split="test")
    with pytest.raises(ConfigError, match="--split=test of scenes/128 contains no objects; use"):
        evaluation.open_data(settings)


def test_a_head_different_from_the_pretrained_one_is_rejected(scenes_dir, run, capsys):
    flags = [f"--from={run}", "--dataset=scenes/128", f"--data_dir={scenes_dir}"]
    for flag, there in (("--channels=8", 16), ("--head_layers=3", 1)):
        assert detection.main([*flags, flag]) != 0
        error = capsys.readouterr().err
        assert flag in error and f"differs from the {there} that" in error
