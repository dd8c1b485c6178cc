"""Checks of an accelerator: limits, what a failure hides, and the tables; on CPUs in small sizes."""

import json
import pathlib
import subprocess
import sys
import time

import pytest

from benchmarks.accelerator import __main__ as accelerator
from benchmarks.accelerator.table import Outcome, markdown
from benchmarks.step import Case, Cost

DEVICE = {"name": "Card", "kind": "GPU", "bytes": 80 * 2**30, "cores": 8, "tensorflow": "2.21.0"}


def python(program):
    return [sys.executable, "-c", program]


def runs(status):
    """Whether the process of the `/proc/NUMBER/status` file `status` still runs.

    The kernel ends a process some time after its signal has been sent, and a process that has
    ended stays in /proc as a "zombie" until its parent has asked for its exit code.
    """
    try:
        return "State:\tZ" not in status.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_check_that_takes_too_long_is_stopped_with_all_of_its_processes(tmp_path):
    program = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(997)'])\n"
        f"open({str(tmp_path / 'child')!r}, 'w').write(str(child.pid))\n"
        "time.sleep(997)"
    )
    started = time.monotonic()
    assert accelerator.run_limited(python(program), 5.0) == "stopped after 5 s"
    assert time.monotonic() - started < 25
    status = pathlib.Path("/proc", (tmp_path / "child").read_text(), "status")
    deadline = time.monotonic() + 60
    while runs(status) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not runs(status)


def test_a_check_returns_the_json_in_its_last_line_or_the_reason_of_its_failure():
    assert accelerator.run_limited(python("print('log'); print('{\"a\": 1}')"), 60) == {"a": 1}
    assert "no kernel" in accelerator.run_limited(python("raise ValueError('no kernel')"), 60)
    assert "signal 9" in accelerator.run_limited(python("import os; os.kill(os.getpid(), 9)"), 60)


def test_the_table_shows_every_result():
    cost = Cost("Card", 10**12, [0.5, 0.25, 0.5], [4e12] * 3, [], 2000.0, 9.0)
    case = Case("resnet50", 64, "bfloat16", "ppm", deterministic=False)
    rows = [(case, "tensorflow", cost), (case, "torch", "skipped: no time left")]
    outcomes = [
        Outcome.of("xla", {"passed": True, "found": "on GPU:0"}, 3.2),
        Outcome.of("golden", {"passed": False, "found": "loss differs by 1"}, 70.0),
        Outcome.of("replicas", "killed by signal 9", 4.0),
        Outcome.of("resume", "skipped: no time left", 0.0),
    ]
    assert [each.result for each in outcomes] == ["passed", "failed", "failed", "skipped"]
    lines = markdown(DEVICE, outcomes, rows).splitlines()
    assert lines[0] == "# Card" and lines[2].startswith("86 GB, 8 cores of the host")
    assert "| XLA compiles for the device | passed | 3 | on GPU:0 |" in lines
    assert (
        "| resnet50, 224 pixels, bfloat16, `--jit=ppm` `--nodeterministic` | 64 | 128.0 | 0.500 (0.250..0.500) | 50 % (50..100) | 2.0 GB |"
        in lines
    )
    assert any("PyTorch, eager | 64 | skipped: no time left |" in line for line in lines)


@pytest.mark.parametrize(
    ("gigabytes", "precision", "expected"),
    [
        (24, "bfloat16", 128),
        (80, "float32", 256),
        (1, "float32", "no batch fits"),
        (0, "float16", "the memory of the card is unknown"),
    ],
)
def test_the_batch_is_the_largest_that_fits(monkeypatch, gigabytes, precision, expected):
    batches = accelerator.Batches({"kind": "CPU"})
    batches._device = {"bytes": gigabytes * 10**9}
    batches._process = subprocess.Popen(python("pass"))
    # For 32 and 64 images, as in docs/scaling.md.
    batches._needed = {"float32": [6.4e9, 12.4e9], "bfloat16": [3.6e9, 6.6e9]}
    found = batches.of(precision, 30.0)
    assert found == expected or (isinstance(expected, str) and found.startswith(expected))


def test_a_step_is_repeated_with_half_of_the_images_if_the_memory_is_exhausted(monkeypatch):
    tried = []

    def run(command, seconds):
        case = json.loads(next(part for part in command if "--case=" in part)[len("--case=") :])
        tried.append(case["batch_size"])
        if case["batch_size"] > 128:
            return "tensorflow.python.framework.errors_impl.ResourceExhaustedError: OOM when ..."
        return vars(Cost("Card", 1, [1.0], [1.0], [], 1.0, 1.0))

    monkeypatch.setattr(accelerator, "run_limited", run)
    case, cost = accelerator.measure_step(
        Case("resnet50", 512, "bfloat16", "ppm"), "tensorflow", time.monotonic() + 100
    )
    assert tried == [512, 256, 128] and case.batch_size == 128 and isinstance(cost, Cost)


def test_a_step_that_fails_is_a_failure(tmp_path, monkeypatch):
    monkeypatch.setattr(accelerator, "_device", lambda: DEVICE | {"kind": "CPU"})
    monkeypatch.setattr(accelerator, "run_limited", lambda *_: "no kernel")
    assert accelerator.main(["--checks=steps", f"--output={tmp_path / 'card'}"]) == 1


@pytest.mark.slow
def test_checks_pass_on_a_cpu_and_a_failure_hides_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(accelerator.LIMITS, "golden", 6)
    flags = ["--checks=golden,xla,batch_norm", f"--output={tmp_path / 'card'}"]
    assert accelerator.main(flags) == 1
    result = json.loads((tmp_path / "card" / "accelerator.json").read_text())
    found = {check["check"]: check["result"] for check in result["checks"]}
    assert found == {"golden": "failed", "xla": "passed", "batch_norm": "measured"}
    assert result["checks"][0]["found"] == "stopped after 6 s"
    assert result["device"]["kind"] == "CPU"
    page = (tmp_path / "card" / "accelerator.md").read_text()
    assert page.startswith(f"# {result['device']['name']}\n") and "| passed |" in page
    assert "golden      failed" in capsys.readouterr().out


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["golden", "golden64", "replicas", "resume"])
def test_a_check_passes_on_a_cpu(name):
    command = [sys.executable, "-m", "benchmarks.accelerator.checks", name]
    found = accelerator.run_limited(command, 500)
    assert isinstance(found, dict) and found["passed"], found


@pytest.mark.slow
def test_a_step_is_measured_on_a_cpu(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(accelerator, "STEPS", [("float32", "ppm", False, "tensorflow")])
    small = {"backbone": "resnet10w0.5", "batch_size": 2, "image_size": 64, "repeats": 2}
    monkeypatch.setattr(accelerator, "_SMALL", small)
    assert accelerator.main(["--checks=steps", f"--output={tmp_path / 'card'}"]) == 0
    assert "--nodeterministic" in capsys.readouterr().out
    (step,) = json.loads((tmp_path / "card" / "accelerator.json").read_text())["steps"]
    assert step["case"]["deterministic"] is False and len(step["cost"]["seconds"]) == 2


def test_an_output_that_exists_is_kept(tmp_path, capsys):
    (tmp_path / "card").mkdir()
    assert accelerator.main([f"--output={tmp_path / 'card'}"]) == 2
    assert "already exists" in capsys.readouterr().err
