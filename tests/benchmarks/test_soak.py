"""Soak test: a disturbed run is compared with an undisturbed one."""

import json
import pathlib
import random
import subprocess
import sys

import numpy as np
import pytest

from benchmarks.soak import __main__ as soak
from benchmarks.soak import trials
from benchmarks.soak.faults import FAULTS, Unavailable


def test_what_differs_is_a_violation(tmp_path, monkeypatch):
    lines = [{"step": 1, "loss": 2.0}]
    wanted = trials.Reference(pathlib.Path("photos"), {"a": np.ones(3)}, lines, 1.0, 1.0, 10)
    found = {"weights": {"a": np.ones(3)}, "metrics": lines}
    monkeypatch.setattr(trials.tiny_run, "weights_of", lambda folder: found["weights"])
    monkeypatch.setattr(trials, "_metrics", lambda folder: found["metrics"])
    trial = trials.Trial(tmp_path, wanted, random.Random(0))
    trial.check()
    for change, message in (
        ({"weights": {"a": np.ones(3) + 1e-9}}, "a differs"),
        ({"weights": {}}, "other variables"),
        ({"metrics": []}, "the metrics differ"),
    ):
        found |= change
        with pytest.raises(trials.Violation, match=message):
            trial.check()
        found = {"weights": {"a": np.ones(3)}, "metrics": lines}
    (tmp_path / "step-4.index.writing").touch()
    with pytest.raises(trials.Violation, match="incomplete files are left"):
        trial.check()


@pytest.mark.parametrize(
    ("ends", "message"),
    [
        ("raise RuntimeError('x')", "traceback: RuntimeError: x"),
        ("import sys; sys.exit(3)", "exit code 3, expected"),
        ("import sys; sys.exit(1)", "0 lines of errors"),
        ("import time; time.sleep(60)", "hangs after"),
    ],
)
def test_processes_that_end_in_another_way_are_violations(ends, message, tmp_path, monkeypatch):
    def start(photos, run_dir, prefix=()):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([sys.executable, "-c", ends], **pipes)

    monkeypatch.setattr(trials, "_start", start)
    wanted = trials.Reference(tmp_path, {}, [], 0.05 if "hangs" in message else 5.0, 1.0, 1)
    trial = trials.Trial(tmp_path, wanted, random.Random(0))
    with pytest.raises(trials.Violation, match=message):
        trial.wait(trial.start(), (0, 1))


@pytest.mark.thorough
def test_a_stopped_run_has_the_same_weights(tmp_path, capsys):
    output = tmp_path / "soak"
    flags = [f"--output={output}", "--hours=0.003", "--faults=stopped"]
    assert soak.main(flags) == 0
    (result, *_) = json.loads((output / "results.json").read_text())
    assert result["fault"] == "stopped" and result["ends"][-1] == 0 and not result["violation"]
    assert "stopped" in capsys.readouterr().out


def test_a_failed_undisturbed_run_is_reported_in_one_line(tmp_path, monkeypatch, capsys):
    def start(photos, run_dir):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([sys.executable, "-c", "raise RuntimeError('x')"], **pipes)

    monkeypatch.setattr(trials, "_start", start)
    assert soak.main([f"--output={tmp_path / 'soak'}"]) == 1
    assert capsys.readouterr().err == "error: the undisturbed run failed: RuntimeError: x\n"


def test_a_machine_on_which_no_fault_can_be_caused_is_reported(tmp_path, monkeypatch, capsys):
    def fail(trial):
        raise Unavailable("requires another machine")

    wanted = trials.Reference(tmp_path, {}, [], 1.0, 1.0, 1)
    monkeypatch.setattr(soak, "reference", lambda folder: wanted)
    monkeypatch.setitem(FAULTS, "stopped", fail)
    assert soak.main([f"--output={tmp_path / 'soak'}", "--faults=stopped"]) == 1
    captured = capsys.readouterr()
    assert "stopped: not tried: requires another machine" in captured.out
    assert captured.err.startswith("error: none of the faults can be caused on this machine")


def test_every_fault_says_what_it_does():
    assert all(function.__doc__ for function in FAULTS.values())
