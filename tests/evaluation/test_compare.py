"""Comparison of backbones on the same labels: the table, the figures, mistakes in flags, and interruptions."""

import json
import os

import matplotlib.figure
import numpy as np
import pytest
from PIL import Image

from pixpro_tf.evaluation import compare
from pixpro_tf.evaluation.comparison import evaluation
from pixpro_tf.evaluation.sources import load_backbone
from pixpro_tf.evaluation.training_steps import DivergedError
from tests.support.labelled import write_coco, write_images
from tests.support.models import FOUR_CHANNELS, make_run

FLAGS = ["--image_size=64", "--batch_size=2", "--epochs=1", "--seeds=2"]
BACKBONES = ["--from=random:resnet10w0.5", "--from=random"]


@pytest.fixture
def labels(tmp_path):
    write_images(tmp_path / "images")
    return write_coco(tmp_path)


class FakeTask:
    metrics = {"ap": "AP", "ap_50": "AP50"}
    evaluated = "a.json"

    def __init__(self, settings=None, folder=""):
        pass

    def evaluate(self, settings, folder):
        first = settings.source == "random:resnet10"
        return {"ap": 0.5 * first + settings.seed / 100, "ap_50": 0.9}, {}


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(evaluation, "_TASKS", {"detection": FakeTask})


def test_scores_are_compared_by_seed(fake, capsys):
    flags = ["--from=random:resnet10", "--from=random:resnet18", "--labels=a.json", "--seed=4"]
    assert compare.main(flags) == 0
    lines = capsys.readouterr().out.splitlines()
    start = lines.index("In %, a.json, 3 seeds (mean ± standard deviation):")
    rows = [line.split() for line in lines[start + 1 : start + 4]]
    assert rows[0] == ["backbone", "AP", "AP50"]
    assert rows[1] == ["random:resnet10", "55.00", "±", "1.00", "90.00", "±", "0.00"]
    assert rows[2] == ["random:resnet18", "5.00", "±", "1.00", "90.00", "±", "0.00"]
    assert lines[start + 4] == (
        "AP of random:resnet10 minus random:resnet18: +50.00 ± 0.00; higher with 3 of 3 seeds"
    )
    assert "The backbones differ in architecture" in lines[0]


def test_a_backbone_whose_training_diverges_does_not_end_the_comparison(
    monkeypatch, tmp_path, capsys
):
    class Task(FakeTask):
        def evaluate(self, settings, folder):
            if (settings.source, settings.seed) in diverging:
                raise DivergedError("training diverged: the loss is nan after step 7 of 9")
            return super().evaluate(settings, folder)

        def figure(self, predictions, title):
            pictured.append(list(predictions))
            return matplotlib.figure.Figure()

    pictured = []
    monkeypatch.setattr(evaluation, "_TASKS", {"detection": Task})
    names = ["random:resnet10", "random:resnet18"]
    output = tmp_path / "compared"
    flags = [*(f"--from={name}" for name in names), "--labels=a.json", f"--output={output}"]

    diverging = {(names[1], 0)}
    assert compare.main(flags) == 0
    printed = capsys.readouterr().out
    assert "  training diverged: the loss is nan after step 7 of 9\n  no score, " in printed
    assert "AP of random:resnet10 minus random:resnet18: +50.00 ± 0.00; higher with 2 of 2" in (
        printed
    )
    assert "Training from random:resnet18 diverged with 1 of 3 seeds, which are left out" in printed
    scores = json.loads((output / "results.json").read_text())["scores"]
    assert scores[names[1]][0] is None and scores[names[1]][1]["ap"] == 0.01
    assert pictured == [names[:1]]

    diverging = {(names[1], seed) for seed in range(3)}
    assert compare.main([*flags, "--overwrite"]) == 0
    printed = capsys.readouterr().out
    row = next(line for line in printed.splitlines() if line.startswith("  random:resnet18"))
    assert row.split() == ["random:resnet18", "diverged", "diverged"] and "minus" not in printed

    diverging = {(name, seed) for name in names for seed in range(3)}
    assert compare.main([*flags, "--overwrite"]) == 1
    assert "training diverged from every backbone; use a lower --rate" in capsys.readouterr().err


def test_random_weights_have_the_architecture_of_the_first_backbone(monkeypatch, capsys):
    seen = []

    class Task(FakeTask):
        def evaluate(self, settings, folder):
            seen.append((settings.source, settings.seed))
            return {"ap": 0.0, "ap_50": 0.0}, {}

    monkeypatch.setattr(evaluation, "_TASKS", {"detection": Task})
    flags = ["--from=random", "--from=random:resnet10w0.5", "--labels=a.json", "--seeds=1"]
    assert compare.main(flags) == 0
    assert seen == [("random:resnet10w0.5", 0)] * 2
    assert "differ" not in capsys.readouterr().out


def test_random_weights_have_the_layout_and_channels_of_the_first_backbone(
    monkeypatch, tmp_path, capsys
):
    seen = []

    class Task(FakeTask):
        def evaluate(self, settings, folder):
            seen.append(load_backbone(settings.source, any_channels=True))
            return {"matched": 0.0}, {}

        metrics = {"matched": "matched"}

    monkeypatch.setattr(evaluation, "_TASKS", {"matching": Task})
    run = make_run(
        tmp_path / "run",
        backbone="resnet10w0.5",
        backbone_layout="model_garden",
        **FOUR_CHANNELS,
    )
    flags = [f"--from={run}", "--from=random", "--task=matching", "--dataset=folder:a"]
    assert compare.main([*flags, "--seeds=1"]) == 0
    trained, random = seen
    assert random.layout == trained.layout == "model_garden"
    assert random.channels == trained.channels and random.channels.count == 4
    assert not np.array_equal(trained.get_weights()[0], random.get_weights()[0])
    flags[1] = "--from=random:resnet10w0.5"
    assert compare.main([*flags, "--seeds=1"]) == 0
    assert (
        f"differ in layout: {run} has model_garden, random:resnet10w0.5 has torchvision"
        in capsys.readouterr().out
    )


def test_backbones_of_other_images_are_rejected_before_anything_is_trained(
    fake, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(FakeTask, "evaluate", lambda *_: pytest.fail("trains"))
    run = make_run(
        tmp_path / "run",
        backbone="resnet10w0.5",
        **FOUR_CHANNELS,
    )
    flags = ["--from=random:resnet10w0.5", f"--from={run}", "--labels=a.json"]
    assert compare.main(flags) == 1
    assert f"{run} was pre-trained on images other than 8-bit RGB" in capsys.readouterr().err


def test_new_fpns_are_as_wide_as_one_that_was_pretrained(monkeypatch, tmp_path, capsys):
    seen = []

    class Task(FakeTask):
        def evaluate(self, settings, folder):
            seen.append((settings.channels, settings.head_layers))
            return {"ap": 0.0, "ap_50": 0.0}, {}

    monkeypatch.setattr(evaluation, "_TASKS", {"detection": Task})
    run = make_run(tmp_path / "run", backbone="resnet10w0.5", pixel_levels="p3,p4", fpn_channels=32)
    flags = [f"--from={run}", "--from=random", "--labels=a.json", "--seeds=1"]
    assert compare.main(flags) == 0
    # The first one keeps what it has, which 0 stands for.
    assert seen == [(0, 0), (32, 0)]
    assert "Backbones with a pre-trained FPN: " in capsys.readouterr().out


@pytest.mark.slow
def test_detectors_are_compared(labels, tmp_path, capsys):
    output = tmp_path / "compared"
    flags = [*BACKBONES, f"--labels={labels}", f"--evaluation_labels={labels}", *FLAGS]
    assert compare.main([*flags, f"--output={output}"]) == 0
    assert sorted(os.listdir(output)) == ["predictions.png", "results.json", "scores.png"]
    scores = json.loads((output / "results.json").read_text())["scores"]
    # The same architecture, seeds, images and steps: the same scores.
    assert scores["random"] == scores["random:resnet10w0.5"] and len(scores["random"]) == 2
    assert {"ap", "ap_50", "ap_75", "ap of cat", "ap of dog"} <= set(scores["random"][0])
    for name in ("predictions", "scores"):
        with Image.open(output / f"{name}.png") as picture:
            assert min(picture.size) > 200
    assert not (tmp_path / "partial_compared").exists()
    assert "AP of random:resnet10w0.5 minus random: +0.00 ± 0.00" in capsys.readouterr().out


@pytest.mark.slow
def test_segmenters_are_compared(tmp_path, capsys):
    output, tmp_path = tmp_path / "compared", tmp_path / "data"
    for split in ("train", "validation"):
        write_images(tmp_path / split / "images", {"a.png": (64, 64), "b.png": (64, 64)})
        (tmp_path / split / "masks").mkdir()
        for name in ("a", "b"):
            mask = Image.new("L", (64, 64), 0)
            mask.paste(1, (16, 16, 48, 48))
            mask.save(tmp_path / split / "masks" / f"{name}.png")
    (tmp_path / "classes.txt").write_text("ground\nthing\n")
    flags = [*BACKBONES, "--task=segmentation", f"--dataset=folder:{tmp_path}", "--epochs=2"]
    assert compare.main([*flags, "--seeds=1", f"--output={output}"]) == 0
    scores = json.loads((output / "results.json").read_text())["scores"]
    assert scores["random"] == scores["random:resnet10w0.5"]
    assert set(scores["random"][0]) == {
        "mean_iou",
        "pixel_accuracy",
        "IoU of ground",
        "IoU of thing",
    }
    assert sorted(os.listdir(output)) == ["predictions.png", "results.json", "scores.png"]
    assert ", linear, one seed:" in capsys.readouterr().out


@pytest.mark.slow
def test_views_are_matched_without_labels(tmp_path, capsys):
    write_images(tmp_path / "images", {f"{name}.png": (64, 64) for name in "abc"})
    output = tmp_path / "compared"
    flags = [*BACKBONES, "--task=matching", f"--dataset=folder:{tmp_path / 'images'}"]
    flags += ["--image_size=64", "--output_stride=16", "--seeds=2", f"--output={output}"]
    assert compare.main(flags) == 0
    scores = json.loads((output / "results.json").read_text())["scores"]
    assert scores["random"] == scores["random:resnet10w0.5"] and len(scores["random"]) == 2
    assert all(0 < each["chance"] < 1 and 0 <= each["found"] <= 1 for each in scores["random"])
    assert sorted(os.listdir(output)) == ["predictions.png", "results.json", "scores.png"]
    printed = capsys.readouterr().out
    assert "images, dense matching, 2 seeds (mean ± standard deviation):" in printed
    assert "matched of random:resnet10w0.5 minus random: +0.00 ± 0.00" in printed


@pytest.mark.parametrize("task", ["segmentation", "matching"])
@pytest.mark.parametrize(("flag", "stride"), [([], 16), (["--output_stride=8"], 8)])
def test_maps_of_all_backbones_have_the_same_stride(
    task, flag, stride, monkeypatch, tmp_path, capsys
):
    seen = []

    class Task(FakeTask):
        def evaluate(self, settings, folder):
            seen.append(settings.output_stride)
            return {"ap": 0.0, "ap_50": 0.0}, {}

    monkeypatch.setattr(evaluation, "_TASKS", {task: Task})
    runs = [
        make_run(tmp_path / f"run{each}", backbone="resnet10w0.5", output_stride=each)
        for each in (16, 32)
    ]
    flags = ["--from=random", *(f"--from={run}" for run in runs), f"--task={task}", *flag]
    assert compare.main([*flags, "--dataset=scenes/128", "--seeds=1"]) == 0
    assert seen == [stride] * 3
    assert f"with output stride {stride}; trained with another one: " in capsys.readouterr().out


def test_an_interrupted_comparison_continues_with_the_next_evaluation(
    tmp_path, capsys, monkeypatch
):
    calls = []

    class Task(FakeTask):
        def evaluate(self, settings, folder):
            calls.append(settings.source)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return super().evaluate(settings, folder)[0], {"0": np.array([len(calls)])}

        def figure(self, predictions, title):
            shown.append({name: found["0"].tolist() for name, found in predictions.items()})
            return matplotlib.figure.Figure()

    shown = []
    monkeypatch.setattr(evaluation, "_TASKS", {"detection": Task})
    output = tmp_path / "compared"
    flags = ["--from=random:resnet10", "--from=random:resnet18", "--labels=a.json", "--seeds=2"]
    flags.append(f"--output={output}")
    assert compare.main(flags) == 130
    assert "partial_compared; run the same command again to continue" in capsys.readouterr().out
    assert not output.exists()
    # Other flags would mix results that cannot be compared.
    assert compare.main([*flags, "--rate=0.1"]) == 2
    assert "unfinished evaluation with other flags" in capsys.readouterr().err
    # A power cut leaves empty files.
    (tmp_path / "partial_compared" / "1_0" / "scores.json").write_text("")
    assert compare.main(flags) == 0
    assert "1_0 is damaged (" in capsys.readouterr().out
    # One evaluation was finished before; the second is damaged, and the third was interrupted.
    names = ["random:resnet10", "random:resnet18"]
    assert calls == [*names, names[0], names[1], *names]
    scores = json.loads((output / "results.json").read_text())["scores"]
    assert [each["ap"] for each in scores["random:resnet10"]] == [0.5, 0.51]
    assert shown == [{"random:resnet10": [1], "random:resnet18": [4]}]
    assert not (tmp_path / "partial_compared").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--from is missing"),
        (["--from=random:resnet10"], "is the only backbone; add another one, e.g. --from=random"),
        (["--from=random"], "--from=random uses the architecture of another backbone; add one"),
        (["--from=random:resnet10", "--from=random:resnet10"], "is passed twice"),
        (["--from=random", "--from=random"], "is passed twice"),
        (BACKBONES, "images with boxes are missing; pass --dataset or --labels"),
        ([*BACKBONES, "--labels=a.json", "--dataset=scenes/128"], "cannot be combined"),
        ([*BACKBONES, "--task=segmentation"], "requires a dataset with masks; pass it"),
        ([*BACKBONES, "--task=matching"], "requires images; pass it, e.g. --dataset=folder:PATH"),
        (
            [*BACKBONES, "--task=matching", "--dataset=folder:a", "--split=train"],
            "--split=train is unused with --dataset=folder:a",
        ),
        (
            [*BACKBONES, "--task=matching", "--dataset=scenes/128", "--epochs=2"],
            "--epochs=2 is unused with --task=matching",
        ),
        (
            [*BACKBONES, "--task=segmentation", "--dataset=scenes/128", "--image_size=64"],
            "--image_size=64 is unused with --task=segmentation without --labels",
        ),
        ([*BACKBONES, "--task=segmentation", "--labels=a.json"], "--labels=a.json is unused with"),
        (
            [*BACKBONES, "--labels=a.json", "--level=c4"],
            "--level=c4 is unused with --task=detection",
        ),
        (
            [*BACKBONES, "--task=segmentation", "--dataset=scenes/128", "--rate=1e-14"],
            "--rate=1e-14 is too small; use at least 1e-12, or 0 for the default",
        ),
        ([*BACKBONES, "--labels=a.json", "--split=test"], "--split=test is unused with --labels="),
        ([*BACKBONES, "--labels=nowhere.json"], "the labels nowhere.json do not exist"),
        (["--from=random", "--from=nowhere", "--labels=a.json"], "nowhere"),
    ],
)
def test_mistakes_in_flags_are_reported_in_one_line(capsys, flags, message):
    assert compare.main(flags) != 0
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in error and error.startswith("error: ")
