"""Tests of the correspondence command on photographs and folders."""

import json

import pytest
from PIL import Image

from pixpro_tf.evaluation import correspondence
from pixpro_tf.evaluation.dense_matching import evaluation
from pixpro_tf.export import savedmodel
from tests.support.models import make_run

SMALL = {"image_size": 64, "pairs": 20, "batch_size": 8, "level": "c3"}


def settings_of(**settings):
    return correspondence.Settings(
        **({"source": "random:resnet10", "dataset": "photographs"} | SMALL | settings)
    )


@pytest.mark.slow
def test_identical_crops_match_better_than_augmented_ones():
    easy = evaluation.evaluate(settings_of(augmentation="none", min_crop_area=1.0))
    hard = evaluation.evaluate(settings_of(augmentation="byol", min_crop_area=0.2))
    # Views of whole images differ at most by a flip, so every bin is seen.
    assert easy.bins == 2 * 20 * 64 > hard.bins
    assert easy.found > 0.3 > hard.found > hard.chance > 0
    # A guess is right for nine of the 64 bins in the middle of the view, and for fewer at its edges.
    assert 4 / 64 < easy.chance < 9 / 64


@pytest.mark.slow
def test_a_run_and_its_export_have_the_same_accuracy(tmp_path):
    run = make_run(tmp_path / "run", backbone="resnet10")
    savedmodel.export(str(run), str(tmp_path / "exported"))
    found = [
        evaluation.evaluate(settings_of(source=str(source))).found
        for source in (run, tmp_path / "exported")
    ]
    assert found[0] == found[1] > 0


@pytest.mark.slow
def test_the_command_writes_its_results(tmp_path, capsys):
    flags = [f"--{name}={value}" for name, value in SMALL.items()]
    output = tmp_path / "found"
    code = correspondence.main(
        ["--from=random:resnet10", "--dataset=photographs", f"--output={output}", *flags]
    )
    assert code == 0
    printed = capsys.readouterr().out
    found = json.loads((output / "results.json").read_text())
    assert f"{100 * found['found']:.1f} % of {found['bins']} bins are matched" in printed
    assert found["settings"]["pairs"] == 20
    with Image.open(output / "matches.png") as picture:
        assert min(picture.size) > 300


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--min_crop_area=2"], 2, "--min_crop_area=2.0 is too large; the maximum is 1"),
        (["--pairs=0"], 2, "--pairs=0 is too small"),
        (["--split=train"], 2, "--split=train is unused with --dataset=photographs"),
        (["--augmentation=much"], 2, "--augmentation=much is unknown"),
        # Crops of a hundredth of an image, whose first pair does not overlap.
        (
            ["--min_crop_area=0.01", "--pairs=1", "--seed=1"],
            1,
            "--min_crop_area=0.01 does not create any pair",
        ),
    ],
)
def test_invalid_flags_are_rejected_in_one_line(capsys, flags, code, message):
    assert (
        correspondence.main(
            ["--from=random:resnet10", "--dataset=photographs", "--image_size=64", *flags]
        )
        == code
    )
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1


@pytest.mark.slow
def test_an_invalid_image_file_is_reported_in_one_line(photos, tmp_path, capsys):
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes((photos / "00.jpg").read_bytes())
    (tmp_path / "b.jpg").write_bytes(b"no image")
    flags = [f"--dataset=folder:{tmp_path}", "--image_size=64", "--pairs=4"]
    assert correspondence.main(["--from=random:resnet10", *flags]) == 1
    error = capsys.readouterr().err
    assert f"--dataset=folder:{tmp_path} cannot be read" in error and error.count("\n") == 1


def test_the_accuracy_does_not_depend_on_the_batch_size(photos):
    found = [
        evaluation.evaluate(settings_of(dataset=f"folder:{photos}", batch_size=size, pairs=60))
        # Batches of 32 would leave out a third of the 48 images.
        for size in (32, 60)
    ]
    assert len({(each.bins, each.chance) for each in found}) == 1
    # Sums of floats can differ in the last bits.
    assert max(each.found for each in found) - min(each.found for each in found) < 2e-3
