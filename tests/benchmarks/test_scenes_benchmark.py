"""Tests of the benchmark on `scenes`: training with labels, and what the command prints and writes."""

import json

import pytest

from benchmarks import scenes as benchmark
from benchmarks.supervised import train_with_labels
from pixpro_tf.data.labelled.segmentation import image_batches, open_segmentation
from pixpro_tf.data.scenes import builder
from pixpro_tf.data.scenes.renderer import CLASS_NAMES
from pixpro_tf.evaluation.segmentation.segmenter import score


@pytest.fixture
def few(tmp_path, monkeypatch):
    splits = {"unlabelled": 1, "train": 4, "validation": 2, "test": 1}
    for config in builder.Scenes.BUILDER_CONFIGS:
        monkeypatch.setattr(config, "num_images", splits)
    return str(tmp_path)


def trained_for(data, steps):
    return train_with_labels(
        "resnet10w0.5",
        data,
        output_stride=8,
        seed=0,
        rate=3e-3,
        steps=steps,
        batch_size=4,
        crop_size=64,
    )


@pytest.mark.slow
def test_training_with_labels_fits_the_training_scenes(few):
    data = open_segmentation("scenes/128_plain", few)

    def accuracy(steps):
        batches = image_batches(data.split("train"), 4)
        return score(trained_for(data, steps), batches, len(CLASS_NAMES)).pixel_accuracy

    # The largest class covers a sixth of these scenes.
    assert accuracy(1) < 0.3 and accuracy(200) > 0.7


@pytest.mark.slow
def test_prints_the_results_that_it_writes(few, tmp_path, capsys):
    path = tmp_path / "found.json"
    arguments = [f"--data_dir={few}", f"--json={path}", "--backbone=resnet10w0.5"]
    flags = [*arguments, "--steps=2", "--batch_size=2", "--crop_size=64"]
    assert benchmark.main(flags) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["IoU,", "%", "with", "labels", "random", "weights"]
    assert [line.split()[0] for line in lines[1:11]] == list(CLASS_NAMES)
    found = json.loads(path.read_text())["results"]
    assert lines[11].split()[1:] == [f"{100 * each['mean_iou']:.1f}" for each in found.values()]


def test_rejects_an_unknown_split(capsys):
    assert benchmark.main(["--split=train"]) == 2
    assert "--split" in capsys.readouterr().err
