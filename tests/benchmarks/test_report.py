"""Tests of the report: plans, choice of learning rates, summaries, and a small report from end to end."""

import dataclasses
import json
import math
import os
import pathlib
import re
import shutil
import signal
import subprocess

import numpy as np
import pytest

from benchmarks.report import __main__ as command
from benchmarks.report import curves, plots
from benchmarks.report.findings import findings
from benchmarks.report.fine_tuning import FineTuning
from benchmarks.report.page import write_page
from benchmarks.report.parts import Parts
from benchmarks.report.place import CHOICE, MEASUREMENT, TRAINING, Place
from benchmarks.report.plan import Lead, Method, Run, read_plan
from benchmarks.report.results import (
    Measured,
    Sample,
    chosen_rates,
    measured,
    selection_runs,
    standard_error_of_difference,
)
from pixpro_tf.cli import command_line
from pixpro_tf.cli.outputs import locked
from pixpro_tf.config import Config
from pixpro_tf.errors import ConfigError, RunError
from tests.conftest import ROOT
from tests.support.report_results import put, put_plan

PLANS = sorted((ROOT / "configs" / "report").glob("*.json"))


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    """The paths of flag files in plans are relative to the root."""
    monkeypatch.chdir(ROOT)


@pytest.fixture
def plan():
    return dataclasses.replace(
        read_plan("configs/report/methods.json"),
        rates=(0.1, 0.2),
        supervised_rates=(0.3,),
        leads=(),
        seeds=(0, 1),
        ablation_seeds=(0,),
        detection_seeds=(1,),
        methods=(
            Method("random", "random weights", "random"),
            Method("supervised", "with labels", "supervised"),
            Method("pixpro", "PixPro"),
            Method("gamma_1", "gamma 1", flags=("--gamma=1",), of="pixpro"),
        ),
    )


@pytest.fixture
def place(tmp_path):
    return Place(str(tmp_path / "work"), str(tmp_path / "data"), str(tmp_path / "measurements"))


def put_all(plan, place, rates):
    for number, run in enumerate(plan.measured_runs(rates)):
        put(place, run, MEASUREMENT, mean_iou=0.1 + 0.01 * number)


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_included_plans_have_valid_training_flags(path):
    plan = read_plan(str(path))
    for method in plan.methods:
        if method.kind == "pretrained":
            flags = [*plan.training_flags(method), f"--base_lr={plan.rates[0]}"]
            command_line.parse(Config, flags)
    assert {"random", "pretrained"} <= {method.kind for method in plan.methods}


def test_learning_rates_are_chosen_on_the_validation_split_with_one_seed(plan, place):
    runs = selection_runs(plan, place)
    assert [(run.method.name, run.rate, run.seed) for run in runs] == [
        ("pixpro", 0.1, 0),
        ("pixpro", 0.2, 0),
    ]
    put(place, runs[0], CHOICE, mean_iou=0.3)
    put(place, runs[1], CHOICE, mean_iou=0.2)
    # The result on the test split must not matter.
    put(place, runs[1], MEASUREMENT, mean_iou=0.9)
    rates = {"random": 0.0, "supervised": 0.3, "pixpro": 0.1, "gamma_1": 0.1}
    assert chosen_rates(plan, place) == rates


@pytest.mark.parametrize(
    ("scores", "tried", "chosen"),
    [
        # The best value is inside the grid, or becomes so, or the grid is not extended any further.
        ({0.1: 0.2, 0.2: 0.3, 0.4: 0.1}, [0.1, 0.2, 0.4], 0.2),
        ({0.1: 0.3, 0.2: 0.2, 0.4: 0.1, 0.05: 0.2}, [0.05, 0.1, 0.2, 0.4], 0.1),
        ({0.1: 0.1, 0.2: 0.2, 0.4: 0.3, 0.8: 0.4, 1.6: 0.5}, [0.1, 0.2, 0.4, 0.8, 1.6], 1.6),
    ],
)
def test_a_grid_is_extended_while_its_best_value_is_at_an_end(plan, place, scores, tried, chosen):
    plan = dataclasses.replace(plan, rates=(0.1, 0.2, 0.4), extra_rates=2)
    measured_rates: list[float] = []
    while (runs := selection_runs(plan, place)) != [
        plan.selection_run(plan.method("pixpro"), rate) for rate in measured_rates
    ]:
        measured_rates = [run.rate for run in runs]
        for run in runs:
            put(place, run, CHOICE, mean_iou=scores[run.rate])
    assert measured_rates == pytest.approx(tried)
    assert chosen_rates(plan, place)["pixpro"] == pytest.approx(chosen)


def test_an_ablation_may_have_a_grid_of_its_own(plan, place):
    changed = dataclasses.replace(plan.methods[-1], rates=(0.3, 0.4))
    plan = dataclasses.replace(plan, methods=(*plan.methods[:-1], changed))
    for run in selection_runs(plan, place):
        put(place, run, CHOICE, mean_iou=run.rate)
    rates = chosen_rates(plan, place)
    assert rates["pixpro"] == 0.2 and rates["gamma_1"] == 0.4
    (run,) = (run for run in plan.measured_runs(rates) if run.method == changed)
    assert (run.rate, run.seed) == (0.4, 0)


def test_ablations_use_the_learning_rate_of_their_method(plan):
    rates = {"random": 0.0, "supervised": 0.3, "pixpro": 0.2, "gamma_1": 0.2}
    runs = [(run.method.name, run.rate, run.seed) for run in plan.measured_runs(rates)]
    assert ("gamma_1", 0.2, 0) in runs and ("pixpro", 0.2, 1) in runs and len(runs) == 7


def test_run_names_are_unique(plan, place):
    rates = {"random": 0.0, "supervised": 0.3, "pixpro": 0.2, "gamma_1": 0.2}
    names = {run.name for run in plan.measured_runs(rates) + selection_runs(plan, place)}
    # The run with the chosen learning rate and the selection seed is in both lists.
    assert len(names) == 7 + 1


def test_spread_is_the_standard_deviation_over_seeds():
    sample = Sample((0.1, 0.2, 0.3, 0.4))
    assert sample.mean == pytest.approx(0.25)
    assert sample.deviation == pytest.approx(np.std([0.1, 0.2, 0.3, 0.4]) * math.sqrt(4 / 3))
    assert sample.standard_error == pytest.approx(sample.deviation / 2)
    assert sample.text(100) == "25.0 ± 12.9"
    assert Sample((0.5,)).text(100) == "50.0"
    assert Sample(()).text() == "–"
    assert standard_error_of_difference(sample, sample) == pytest.approx(
        math.sqrt(2) * sample.standard_error
    )


def test_reports_a_missing_result(plan, place):
    with pytest.raises(RunError, match=r"pixpro-rate0\.1-seed0\.choice\.json cannot be read"):
        chosen_rates(plan, place)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": []}, "seeds must not be empty"),
        ({"detection_seeds": [9]}, "detection_seeds must be a subset of seeds"),
        ({"ablation_seeds": [1]}, "ablation_seeds must be the first values of seeds"),
        (
            {"split": "validation"},
            "rates are chosen on the split validation, so results must not be measured on it",
        ),
        ({"common": "nowhere.flags"}, "flag file not found: nowhere.flags"),
        ({"unknown": 1}, "is not a valid plan"),
        ({"pictured": ["none"]}, "'none' is not one of the methods"),
        (
            {
                "closes_gap": "a",
                "methods": [{"name": "a", "title": "A"}],
                "pictured": [],
                "leads": [],
            },
            "closes_gap=a requires the methods random and supervised",
        ),
        ({"methods": [{"name": "a", "title": "A", "kind": "magic"}]}, "unknown kind 'magic'"),
        ({"methods": [{"name": "a", "title": "A", "of": "b"}]}, "ablation of 'b'"),
        ({"methods": 2 * [{"name": "a", "title": "A"}]}, "methods must have different names"),
        ({"methods": [{"name": "a", "title": "A", "init_from": "b"}]}, "starts from 'b'"),
    ],
)
def test_rejects_an_invalid_plan(tmp_path, change, message):
    content = json.loads((ROOT / "configs/report/methods.json").read_text()) | change
    (tmp_path / "plan.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=message):
        read_plan(str(tmp_path / "plan.json"))


def test_reports_a_missing_plan(tmp_path):
    with pytest.raises(RunError, match="cannot be read"):
        read_plan(str(tmp_path / "plan.json"))


def test_finished_runs_are_skipped(plan, place, capsys, monkeypatch):
    runs = selection_runs(plan, place)
    put(place, runs[0], CHOICE)
    started = []

    class Finished:
        returncode = 0

        def poll(self):
            return 0

    def start(plan_file, place, run, split, cores):
        started.append(run)
        put(place, run, split)
        return Finished()

    monkeypatch.setattr(command, "_start", start)
    command.measure_all("plan.json", plan, place, runs, CHOICE, 2)
    assert started == [runs[1]]
    printed = capsys.readouterr().out
    assert "1 of 2 backbones are finished" in printed and "2 of 2, pixpro-rate0.2" in printed


def test_missing_images_are_noticed_before_anything_is_trained(plan, tmp_path, monkeypatch):
    from pixpro_tf.data.sources import tfds_datasets

    prepared = []
    monkeypatch.setattr(tfds_datasets, "prepared_builder", lambda *args: prepared.append(args))
    elsewhere = Method(
        "elsewhere", "elsewhere", flags=(f"--dataset=zip:{tmp_path / 'textures.zip'}",)
    )
    start = Method("start", "start", kind="supervised", dataset="composites/128")
    plan = dataclasses.replace(plan, methods=(start, elsewhere))
    with pytest.raises(RunError, match=r"textures\.zip"):
        command._prepare_data(plan, "data")
    assert prepared == [(plan.dataset, "data"), ("composites/128", "data")]


def test_a_machine_may_only_train(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(command, "_prepare_data", lambda *_: None)
    monkeypatch.setattr(command, "measure_all", lambda *args: calls.append((args[4], args[3])))
    flags = ["--plan=configs/report/quick.json", f"--work_dir={tmp_path / 'work'}", "--train_only"]
    assert command.main([*flags, f"--output={tmp_path / 'page'}"]) == 0
    # There is one learning rate for each method, so that nothing has to be measured first.
    ((stage, runs),) = calls
    assert stage == TRAINING
    assert {run.method.name for run in runs} == {
        each.name
        for each in read_plan("configs/report/quick.json").methods
        if each.kind == "pretrained"
    }
    assert not (tmp_path / "page").exists()


def test_two_reports_do_not_share_a_folder(tmp_path, capsys):
    work = tmp_path / "work"
    work.mkdir()
    flags = ["--plan=configs/report/quick.json", f"--work_dir={work}"]
    with locked(str(work / ".lock"), "unused"):
        assert command.main([*flags, f"--output={tmp_path / 'page'}"]) == 2
    message = f"--work_dir={work} is in use by another report; wait until it has ended"
    assert message in capsys.readouterr().err
    assert os.listdir(work) == [".lock"]


def test_rejects_results_of_a_different_plan(plan, place, tmp_path):
    command.check_conditions(plan, place)
    command.check_conditions(plan, place)
    # Seeds and learning rates, which are in the name of a result, may change, and methods may be added.
    more = dataclasses.replace(
        plan, seeds=(0, 1, 2), rates=(0.1,), methods=(*plan.methods, Method("new", "new"))
    )
    command.check_conditions(more, place)
    message = "of a different plan, which differs in {}; use another folder"
    with pytest.raises(RunError, match=message.format("margin")):
        command.check_conditions(dataclasses.replace(plan, margin=8), place)
    # Both folders count: runs with new results, and results with new runs.
    for name in ("work_dir", "measurements"):
        other = dataclasses.replace(place, **{name: str(tmp_path / f"new_{name}")})
        with pytest.raises(RunError, match=message.format("margin")):
            command.check_conditions(dataclasses.replace(plan, margin=8), other)
        assert not (tmp_path / f"new_{name}").exists()
    # Results without conditions may come from anywhere.
    (tmp_path / "copied").mkdir()
    (tmp_path / "copied" / "pixpro-rate0.1-seed0.choice.json").write_text("{}")
    copied = dataclasses.replace(place, measurements=str(tmp_path / "copied"))
    with pytest.raises(RunError, match=r"copied contains results without their conditions, "):
        command.check_conditions(plan, copied)
    changed = dataclasses.replace(plan.methods[-1], flags=("--gamma=3",))
    with pytest.raises(RunError, match=message.format("method gamma_1")):
        command.check_conditions(
            dataclasses.replace(plan, methods=(*plan.methods[:-1], changed)), place
        )
    common = tmp_path / "common.flags"
    with open(plan.common) as file:
        common.write_text(f"# One more comment.\n{file.read()}")
    command.check_conditions(dataclasses.replace(plan, common=str(common)), place)
    including = tmp_path / "including.flags"
    including.write_text(f"--flagfile={common}\n")
    command.check_conditions(dataclasses.replace(plan, common=str(including)), place)
    common.write_text("--epochs=3\n")
    with pytest.raises(RunError, match=message.format("common")):
        command.check_conditions(dataclasses.replace(plan, common=str(including)), place)
    with pytest.raises(RunError, match=message.format("common")):
        command.check_conditions(dataclasses.replace(plan, common=str(common)), place)
    # The flags of a method that was added later count too.
    changed = dataclasses.replace(more.methods[-1], flags=("--gamma=3",))
    with pytest.raises(RunError, match=message.format("method new")):
        command.check_conditions(
            dataclasses.replace(more, methods=(*more.methods[:-1], changed)), place
        )


def test_a_plan_that_changes_while_it_is_carried_out_ends_the_report(plan, place, capfd):
    command.check_conditions(dataclasses.replace(plan, margin=8), place)
    runs = plan.measured_runs(dict.fromkeys((method.name for method in plan.methods), 0.1))[:1]
    message = "has changed in .*margin.* since .* was begun; restore it, or use other folders"
    with pytest.raises(RunError, match=message):
        command.measure_all("configs/report/methods.json", plan, place, runs, CHOICE, 1)


def test_a_failed_run_shows_the_last_line_of_its_log(plan, place, tmp_path):
    runs = [Run(Method("nothing", "is not in the plan"), 0.1, 0)]
    with pytest.raises(RunError, match=r"nothing-rate0.1-seed0 failed: \w+.*; see .*logs"):
        command.measure_all("configs/report/methods.json", plan, place, runs, CHOICE, 1)


def test_an_error_terminates_the_processes():
    process = subprocess.Popen(["sleep", "60"])
    with pytest.raises(KeyboardInterrupt), command._stopped_at_the_end({0: (None, process)}):
        raise KeyboardInterrupt
    assert process.returncode == -signal.SIGTERM


def test_jobs_share_the_cores():
    assert command._shared_out([0, 1, 2, 3], 2) == [[0, 2], [1, 3]]
    assert command._shared_out([5], 3) == [[5], [5], [5]]


def test_plot_shows_a_dot_for_each_seed():
    figure = plots.dots([("a", Sample((0.1, 0.2))), ("b", Sample((0.3,)))], "x", "title")
    (axes,) = figure.axes
    counts = [len(collection.get_offsets()) for collection in axes.collections]
    assert counts == [2, 1]
    np.testing.assert_allclose(axes.collections[0].get_offsets()[:, 0], [10, 20])


def test_page_agrees_with_the_results(plan, place, tmp_path, monkeypatch):
    from benchmarks.report import page

    rates = {"random": 0.0, "supervised": 0.3, "pixpro": 0.2, "gamma_1": 0.2}
    monkeypatch.setattr(page, "_draw_pictures", lambda *_: "(pictures)")
    for run in selection_runs(plan, place):
        put(place, run, CHOICE, mean_iou=run.rate, seconds={"training": 3600, "measuring": 0})
    for run in plan.measured_runs(rates):
        level = {"random": 0.1, "supervised": 0.6, "pixpro": 0.3, "gamma_1": 0.25}[run.method.name]
        # AP, by which PixPro is behind random weights.
        ap = {"random": 0.3, "pixpro": 0.2}.get(run.method.name)
        detection = {"detection": {"ap": ap, "ap_50": ap, "ap_75": ap}} if ap else {}
        put(place, run, MEASUREMENT, mean_iou=level + 0.01 * run.seed, **detection)
    write_page(str(tmp_path / "page"), "configs/report/methods.json", plan, place, rates)
    text = (tmp_path / "page" / "README.md").read_text()
    assert re.search(
        r"\*\*Met.\*\* On a suitable dataset, .* at most half of its score: they reach 60.5 and 10.5",
        text,
    )
    # PixPro closes 0.2 of the gap of 0.5.
    assert re.search(r"\*\*Met.\*\* PixPro was expected to close a third .* it closes 40 %\.", text)
    assert "| PixPro | 30.5 ± 0.7 |" in text
    assert "highest: random weights (10.5 ± 0.7), PixPro (30.5 ± 0.7), with labels (60.5" in text
    # Ablations are compared over their only seed.
    assert "| PixPro | 30.0 |  |" in text and "| gamma 1 | 25.0 | -5.0 |" in text
    assert "The chance levels are 2.0 and 3.0." in text
    assert "**0.2: 20.0**" in text
    assert "took 2.0 hours of processor time" in text
    # Training on an accelerator, whose backbones are measured elsewhere.
    trained = next(run for run in plan.measured_runs(rates) if run.seed == 1)
    put(place, trained, TRAINING, seconds={"training": 1800, "measuring": 0})
    write_page(str(tmp_path / "page"), "configs/report/methods.json", plan, place, rates)
    text = (tmp_path / "page" / "README.md").read_text()
    assert "took 2.5 hours of processor time" in text
    assert "| striped ball | 20.0 ± 0.0 | 20.0 ± 0.0 |" in text
    folders = f"--work_dir={place.work_dir} --measurements={place.measurements}"
    assert f"{folders} --output={tmp_path / 'page'}" in text
    links = re.findall(r"\]\((\.\./[^)]+)\)", text)
    targets = [(tmp_path / "page" / link).resolve() for link in links]
    assert targets == [ROOT / "configs/report/methods.json", ROOT / "configs/report/common.flags"]
    for name in ("methods.png", "ablations_pixpro.png"):
        assert (tmp_path / "page" / name).stat().st_size > 1000


def test_page_plots_scores_against_generations(plan, place, tmp_path, monkeypatch):
    from benchmarks.report import page

    monkeypatch.setattr(page, "_draw_pictures", lambda *_: "(pictures)")
    longer = Method("pixpro_4", "four times the steps", flags=("--epochs=36",), of="pixpro")
    plan = dataclasses.replace(
        plan, methods=(*plan.methods[:-1], longer), ablation_seeds=(0, 1), of_lengths=True
    )
    rates = {"random": 0.0, "supervised": 0.3, "pixpro": 0.2, "pixpro_4": 0.2}
    for run in selection_runs(plan, place):
        put(place, run, CHOICE)
    for run in plan.measured_runs(rates):
        times = 4 if run.method == longer else 1
        put(place, run, MEASUREMENT, steps=100 * times, generations=3.25 * times, mean_iou=0.2)
    write_page(str(tmp_path / "page"), "configs/report/methods.json", plan, place, rates)
    text = (tmp_path / "page" / "README.md").read_text()
    assert "| PixPro | 100 | 3.2 | 20.0 ± 0.0 |" in text
    assert "| PixPro | 400 | 13.0 | 20.0 ± 0.0 |" in text
    assert "![mIoU against generations](lengths.png)" in text and "## Ablations" not in text
    assert text.index("## Length of pre-training") < text.index("## Methods")
    # Of the shortest runs, which the table of methods shows, and of random weights.
    assert re.search(r"\| PixPro \| 20.0 .* \| 3.2 ± 0.0 \|", text)
    assert re.search(r"\| random weights \| 20.0 .* \| – \|", text)
    assert (tmp_path / "page" / "lengths.png").stat().st_size > 1000


def page_of(name, place, tmp_path, monkeypatch):
    """Writes the page of a plan of the project with made-up results; returns its text."""
    from benchmarks.report import page

    monkeypatch.setattr(page, "_draw_pictures", lambda *_: "(pictures)")
    plan_file = f"configs/report/{name}.json"
    plan = read_plan(plan_file)
    put_plan(place, plan)
    write_page(str(tmp_path / "page"), plan_file, plan, place, chosen_rates(plan, place))
    return (tmp_path / "page" / "README.md").read_text()


def test_page_of_matched_pairs(place, tmp_path, monkeypatch):
    text = page_of("matched", place, tmp_path, monkeypatch)
    assert "takes 9 epochs with batch size 32" in text
    assert "4 learning rates by mIoU on `validation`, some ablations the best of a grid" in text
    assert "at an end, it was extended by a factor of two, at most 3 times. `test` was" in text
    assert (
        "± the standard deviation over seeds; the number of seeds is 2 for the ablations." in text
    )
    assert (
        "- **Missed.** Pixel contrast (PixContrast) was expected to lead instance contrast" in text
    )
    assert "| negatives from all images | 0.008: " in text and "Ablations that are not" in text
    assert "training with labels" not in text and "held-out scenes" not in text


def test_page_of_lengths(place, tmp_path, monkeypatch):
    text = page_of("long", place, tmp_path, monkeypatch)
    assert "takes 6, 24 or 96 epochs of 62 steps with batch size 32" in text
    assert "the standard deviation over seeds. [" in text and "blation" not in text
    lead = "PixPro (4 times the steps) was expected to lead instance regression (4 times the steps)"
    assert f"- **Met.** {lead}" in text
    assert "with a standard error of the difference of 0.1 over 2 seeds" in text
    assert "After 1488 steps, from the lowest score to the highest: random weights" in text
    assert "## Methods\n\nFrom here on, all tables are of the runs of 1488 steps," in text


def test_page_of_composites(place, tmp_path, monkeypatch):
    text = page_of("composites", place, tmp_path, monkeypatch)
    assert "of `composites/128` and evaluated" in text and "scenes" not in text
    assert "On a suitable dataset, training with labels reaches" in text
    assert "*With labels*: the backbone" in text and "training with labels the best of its" in text
    assert "and Adam's learning rate of supervised training" in text


def test_page_of_few_labels(place, tmp_path, monkeypatch):
    text = page_of("labels", place, tmp_path, monkeypatch)
    assert "trained with the labels of `composites/128` for 600 steps" in text
    # The start has the labels of other images, and nothing was chosen for it; there are no ablations.
    assert "With labels" not in text and "supervised training" not in text
    assert "suitable dataset" not in text and "blation" not in text
    assert "| gain of PixContrast | +3.0 ± 0.0 |" in text
    # The start is not all that counts: random weights are in the order, too.
    tuned = "- With all weights fine-tuned, {} from the lowest to the highest: with 10 images, random weights ("
    assert tuned.format("mIoU of the segmenter") in text
    assert tuned.format("AP of the detector") in text
    assert "The segmenter is a fully convolutional network (FCN) on c5" in text


def test_page_shows_the_scores_on_other_splits(plan, place, tmp_path, monkeypatch):
    from benchmarks.report import page

    monkeypatch.setattr(page, "_draw_pictures", lambda *_: "(pictures)")
    before = plan.conditions()
    plan = dataclasses.replace(plan, other_splits=("test_new_things",), closes_gap="")
    assert before | {"other_splits": ["test_new_things"]} == plan.conditions()
    command.check_conditions(dataclasses.replace(plan, other_splits=()), place)
    conditions = pathlib.Path(place.measurements, "conditions.json")
    # Older results without such splits did not record that they have none.
    recorded = json.loads(conditions.read_text())
    conditions.write_text(json.dumps({n: v for n, v in recorded.items() if n != "other_splits"}))
    with pytest.raises(RunError, match="differs in other_splits"):
        command.check_conditions(plan, place)
    rates = {"random": 0.0, "supervised": 0.3, "pixpro": 0.2, "gamma_1": 0.2}
    for run in selection_runs(plan, place):
        put(place, run, CHOICE)
    for run in plan.measured_runs(rates):
        put(place, run, MEASUREMENT, other_splits={"test_new_things": 0.15 + 0.02 * run.seed})
    write_page(str(tmp_path / "page"), "configs/report/methods.json", plan, place, rates)
    text = (tmp_path / "page" / "README.md").read_text()
    assert "|  | mIoU | mIoU on `test_new_things` |" in text
    assert "| PixPro | 20.0 ± 0.0 | 16.0 ± 1.4 |" in text
    # Ablations have one seed.
    assert "|  | mIoU | difference | mIoU on `test_new_things` | matching" in text
    assert "| gamma 1 | 20.0 | 0.0 | 15.0 |" in text
    # No such target was set.
    assert "a third of the gap" not in text


def test_page_shows_the_gain_over_the_start_by_number_of_labels(plan, tmp_path):
    start = Method("start", "start", "supervised", dataset="scenes/256")
    tuned = Method("pixpro", "PixPro", init_from="start")
    scores = {"start": (0.2, 0.3), "pixpro": (0.25, 0.33)}
    plan = dataclasses.replace(
        plan, methods=(start, tuned), fine_tuning={"images": (10, 100), "steps": 30}
    )
    main = [
        Measured(
            method,
            0.1,
            [
                {
                    "mean_iou": 0.1,
                    "fine_tuned": {
                        "10": {"mean_iou": value, "ap": 0.1, "linear_mean_iou": 1 - value},
                        "100": {"mean_iou": 0.5, "ap": 0.2, "linear_mean_iou": 0.3},
                    },
                }
                for value in scores[method.name]
            ],
        )
        for method in plan.methods
    ]
    text = curves.few_labels(str(tmp_path), plan, main)
    assert "|  | mIoU, 10 images | mIoU, 100 images |" in text
    # The gains of the two seeds are 5 and 3 points; the standard deviation is sqrt(2), over sqrt(2).
    assert "| gain of PixPro | +4.0 ± 1.0 | +0.0 ± 0.0 |" in text
    plan = dataclasses.replace(
        plan, leads=tuple(Lead("pixpro", "start", points, 2, 10) for points in (3.9, 4.1))
    )
    found = {each.method.name: each for each in main}
    met, missed, *_ = findings(plan, found).splitlines()
    assert met.startswith("- **Met.** PixPro, fine-tuned with 10 labelled images, was expected to")
    assert "its lead is 4.0 points, with a standard error of the difference of 1.0" in met
    assert met.endswith("(by seed: +5.0, +3.0).")
    assert missed.startswith("- **Missed.**")
    plan = dataclasses.replace(plan, leads=(Lead("pixpro", "start", 2, 2, 10, frozen=True),))
    line = findings(plan, found).splitlines()[0]
    assert line.startswith("- **Missed.** PixPro, frozen under a linear layer trained with 10")
    assert line.endswith("(by seed: -5.0, -3.0).")
    for task in ("linear", "segmentation", "detection"):
        assert (tmp_path / f"labels_{task}.png").stat().st_size > 1000


def test_seeds_fine_tune_with_different_images_for_the_same_number_of_steps():
    settings = FineTuning(
        images=(10, 100, 1000),
        steps=300,
        batch_size=16,
        crop_size=96,
        segmentation_rate=0.01,
        detection_rate=0.001,
        linear_rate=0.01,
    )
    assert [settings.split(10, seed, 1000) for seed in (0, 1)] == ["train[0:10]", "train[10:20]"]
    assert [settings.split(1000, seed, 1000) for seed in (0, 1)] == 2 * ["train[0:1000]"]
    for images in settings.images:
        found = settings.training(images)
        steps = found["epochs"] * (images // found["batch_size"])
        assert found["batch_size"] == min(16, images) and abs(steps - 300) <= 0.05 * 300


def test_finished_parts_of_a_measurement_are_not_repeated(tmp_path):
    path = str(tmp_path / "folder" / "parts")
    parts = Parts(path)
    parts.spent("training", 3.0)
    assert parts("one", lambda: {"score": 1}) == {"score": 1}
    again = Parts(path)
    assert again("one", lambda: pytest.fail("is finished")) == {"score": 1}
    assert again("two", lambda: 2) == 2
    again.spent("training", 4.0)
    assert again.seconds["training"] == 7.0
    again.remove()
    assert not list((tmp_path / "folder").iterdir())


def test_a_lead_within_the_noise_does_not_count(plan, place):
    plan = dataclasses.replace(
        plan,
        methods=(*plan.methods, Method("instance", "instance", flags=())),
        leads=(Lead("pixpro", "instance", 2, 2), Lead("pixpro", "random", 9.9, 1)),
    )
    rates = {"random": 0.0, "supervised": 0.3, "pixpro": 0.2, "gamma_1": 0.2, "instance": 0.1}
    for run in plan.measured_runs(rates):
        level = {"pixpro": 0.2, "instance": 0.16}.get(run.method.name, 0.1)
        put(place, run, MEASUREMENT, mean_iou=level + 0.08 * run.seed)
    text = findings(plan, measured(plan, place, rates))
    lead = "PixPro was expected to lead {} by at least {} standard errors: its lead is {} points"
    assert f"**Missed.** {lead.format('instance', '2 points and 2', '4.0')}" in text
    assert f"**Met.** {lead.format('random weights', '9.9 points and 1', '10.0')}" in text
    assert "**Missed.** On a suitable dataset" in text
    single = dataclasses.replace(plan, seeds=(0,))
    text = findings(single, measured(single, place, rates))
    assert f"**Undecided.** {lead.format('random weights', '9.9 points and 1', '10.0')}" in text
    assert "with a single seed and therefore no estimate of the spread" in text


@pytest.mark.thorough
def test_a_small_report_from_end_to_end(scenes_dir, tmp_path, monkeypatch, capsys):
    (tmp_path / "common.flags").write_text(
        "--image_size=32\n--projector_hidden=16\n--projector_dim=8\n--batch_size=4\n--epochs=1\n"
        "--warmup_epochs=0\n--steps_per_epoch=2\n--optimizer=adamw\n"
    )
    content = json.loads((ROOT / "configs/report/quick.json").read_text())
    content |= {
        "common": str(tmp_path / "common.flags"),
        "dataset": "scenes/128",
        "split": "test",
        "rates": [0.01, 0.02],
        "supervised_rates": [0.001],
        "seeds": [0],
        "ablation_seeds": [0],
        "detection_seeds": [],
        "probe": {"train_split": "train[:20]", "epochs": 1, "batch_size": 10, "rates": [0.01]},
        "supervised": content["supervised"] | {"steps": 2, "batch_size": 2},
        "correspondence": {"pairs": 8, "image_size": 64, "batch_size": 8},
        "detection": {},
        "fine_tuning": {
            "images": [4],
            "steps": 2,
            "batch_size": 2,
            "crop_size": 64,
            "segmentation_rate": 0.01,
            "detection_rate": 0.001,
            "linear_rate": 0.01,
        },
    }
    wanted = {"random", "supervised", "pixpro", "threshold_1.4"}
    content["methods"] = [
        entry | ({} if entry.get("kind") else {"init_from": "supervised"})
        for entry in content["methods"]
        if entry["name"] in wanted
    ]
    content |= {"leads": [], "pictured": ["random", "pixpro"]}
    (tmp_path / "plan.json").write_text(json.dumps(content))
    flags = [
        f"--plan={tmp_path / 'plan.json'}",
        f"--work_dir={tmp_path / 'work'}",
        f"--measurements={tmp_path / 'measurements'}",
        f"--output={tmp_path / 'page'}",
        f"--data_dir={scenes_dir}",
    ]
    assert command.main(flags) == 0
    printed = capsys.readouterr().out
    assert "choice: 2 of 2" in printed and "measurement: 4 of 4" in printed
    # What is measured is trained, and is not started once more as the start of others or for its picture.
    assert "training: 1 of 1 backbones are finished" in printed and "trained;" not in printed
    text = (tmp_path / "page" / "README.md").read_text()
    assert "## Ablations" in text and "| PixPro |" in text and "| gain of PixPro |" in text
    for shown in set(re.findall(r"\]\((?!\.\.|http)([^)]+)\)", text)):
        assert (tmp_path / "page" / shown).is_file(), shown
    (path,) = (tmp_path / "measurements").glob("pixpro-*.measurement.json")
    found = json.loads(path.read_text())
    assert 0 < found["mean_iou"] < 0.5 and 0 <= found["fine_tuned"]["4"]["ap"] <= 1
    assert found["steps"] == 2 and found["generations"] > 0
    config = json.loads(next((tmp_path / "work" / "runs").glob("pixpro*/config.json")).read_text())
    assert "supervised-rate0.001-seed0" in json.dumps(config)
    # With the results alone, as on another machine, nothing is measured again; what is plotted, and its start, are trained again.
    before = {path.name: path.read_text() for path in (tmp_path / "measurements").iterdir()}
    shutil.rmtree(tmp_path / "work")
    assert command.main(flags) == 0
    printed = capsys.readouterr().out
    assert "measurement: 4 of 4 backbones are finished" in printed
    assert printed.count("training: 1 of 1") == 2
    assert before == {path.name: path.read_text() for path in (tmp_path / "measurements").iterdir()}
    assert (tmp_path / "page" / "README.md").read_text() == text
