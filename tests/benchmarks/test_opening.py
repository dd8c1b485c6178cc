"""Tests of the figure with which the report opens."""

import dataclasses
import os

import pytest

from benchmarks.report import opening
from benchmarks.report.conditions import check_conditions
from benchmarks.report.place import Place
from benchmarks.report.plan import read_plan
from tests.conftest import ROOT
from tests.support.report_results import put_plan


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    """The paths of flag files in plans are relative to the root."""
    monkeypatch.chdir(ROOT)


def put_results(measurements, *names):
    for name in names:
        plan = read_plan(f"configs/report/{name}.json")
        put_plan(Place("", "", str(measurements / name)), plan)


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_each_measured_plan_has_a_panel(tmp_path):
    put_results(tmp_path, "matched", "long", "labels")
    figure, missing = opening.draw("configs/report", str(tmp_path))
    assert not missing
    pairs, lengths, labels = figure.axes
    names = [text.get_text() for text in pairs.get_yticklabels()]
    assert names[0] == "random weights" and names[-1] == "pixel contrast (PixContrast)"
    assert len(names) == 5
    # Methods are the first ones of the plan; each has the seeds 0 to 4.
    widths = [bar.get_width() for bar in pairs.patches]
    assert widths == pytest.approx([20.2, 21.2, 22.2, 23.2, 24.2])
    assert texts(lengths) == ["instance regression", "PixPro", "PixContrast", "random weights"]
    instance = lengths.lines[0]
    assert instance.get_xdata() == pytest.approx([1.86, 7.44, 29.76])
    # In the order of steps: instance_short, instance and instance_long, which are methods 2, 1 and 3; seeds 0 and 1.
    assert instance.get_ydata() == pytest.approx([22.05, 21.05, 23.05])
    assert texts(labels)[:2] == ["random weights", "the start itself"]
    assert labels.lines[1].get_ydata() == pytest.approx([22.2, 31.2, 121.2])
    assert [text.get_text() for text in labels.get_xticklabels()] == ["10", "100", "1000"]


def test_a_plan_without_results_has_no_panel(tmp_path, capsys):
    flags = [f"--measurements={tmp_path}", f"--output={tmp_path / 'opening.png'}"]
    assert opening.main(flags) != 0
    assert "has no finished plan" in capsys.readouterr().err
    assert not (tmp_path / "opening.png").exists()
    put_results(tmp_path, "long")
    assert opening.main(flags) == 0
    printed = capsys.readouterr().out
    assert "No panel of matched: " in printed and "No panel of labels: " in printed
    assert (tmp_path / "opening.png").stat().st_size > 10_000


def test_a_plan_that_has_changed_since_it_was_measured_has_no_panel(tmp_path):
    put_results(tmp_path, "matched", "long")
    changed = dataclasses.replace(read_plan("configs/report/long.json"), margin=8)
    check_conditions(changed, Place(str(tmp_path / "runs"), "", str(tmp_path / "fresh")))
    os.replace(tmp_path / "fresh" / "conditions.json", tmp_path / "long" / "conditions.json")
    figure, missing = opening.draw("configs/report", str(tmp_path))
    assert len(figure.axes) == 1
    assert "long: the plan has changed in margin since it was measured" in missing


def test_names_at_the_ends_of_curves_do_not_overlap():
    assert opening._apart([3.0, 1.0, 1.5, 10.0], 1.0) == [3.0, 1.0, 2.0, 10.0]
    assert opening._apart([1.0, 1.0, 1.0], 0.5) == [1.0, 1.5, 2.0]
