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
from benchmarks.soak.faults import FAULTS


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


def test_every_fault_says_what_it_does():
    assert all(function.__doc__ for function in FAULTS.values())
