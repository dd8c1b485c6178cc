"""Checks and measures an accelerator that is new to this project, in at most ten minutes.

    python -m benchmarks.accelerator --output=card

Run it in a checkout, with the card to yourself. Each check is a process of its own with a limit of its own, so that one failure hides
nothing: does XLA compile, do two steps agree with the authors' numbers, do two replicas agree with one, does a killed run resume bit for
bit, how many images do the cores of the host prepare, what does a synchronised batch norm cost, and what does a training step cost by
precision, by --jit and without determinism, at the largest batch that fits, next to PyTorch if that is installed. Checks for which no time
is left are skipped, and say so. Without a GPU, everything runs on the CPU in small sizes.

The tables are printed, and written as `accelerator.json` and `accelerator.md`.
"""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from benchmarks import measuring
from benchmarks.accelerator.table import Outcome, Row, markdown
from benchmarks.step import Case, Cost, table
from pixpro_tf.cli.commands import Command
from pixpro_tf.cli.outputs import write_texts
from pixpro_tf.cli.settings import CheckedSettings, overwrite_flag
from pixpro_tf.config import Config
from pixpro_tf.config.flag import flag, required

# Checks in the order of their importance, each with the most seconds that it may take; `steps` stands for the training steps.
LIMITS = {
    "xla": 60,
    "golden": 120,
    "replicas": 100,
    "resume": 150,
    "steps": 120,
    "input": 60,
    "batch_norm": 60,
    "golden64": 240,
}
# Precision, --jit, --deterministic and framework of the steps, in the order of their importance.
STEPS = (
    ("bfloat16", "ppm", True, "tensorflow"),
    ("bfloat16", "off", True, "torch"),
    ("float32", "ppm", True, "tensorflow"),
    ("bfloat16", "ppm", False, "tensorflow"),
    ("float16", "ppm", True, "tensorflow"),
    ("bfloat16", "step", True, "tensorflow"),
)
# What errors of TensorFlow and PyTorch contain when the memory of the card is exhausted.
_OUT_OF_MEMORY = ("OOM", "out of memory", "RESOURCE_EXHAUSTED", "ResourceExhausted")
# Sizes of batches that are tried, largest first, and the share of the memory that a step may need by its graph.
_BATCHES = (1024, 512, 256, 128, 64, 32, 16)
_MEMORY_SHARE = 0.85
# On a CPU.
_SMALL: dict[str, Any] = {"backbone": "resnet18", "batch_size": 4, "image_size": 112, "repeats": 3}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(CheckedSettings):
    """What to check, and for how long."""

    checks: tuple[str, ...] = flag(
        tuple(LIMITS), "Checks", "checks, separated by commas", choices=tuple(LIMITS)
    )
    minutes: float = flag(
        9.0, "Checks", "time after which nothing new starts and all stops", minimum=0.1
    )
    output: str = required("Output", "folder to create for accelerator.json and accelerator.md")
    overwrite: bool = overwrite_flag()


def run_limited(command: list[str], seconds: float) -> dict | str:
    """Runs a command that prints JSON in its last line; returns that, or why there is none."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, complaints = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        return f"stopped after {seconds:.0f} s"
    finally:
        # With the processes that it has started; they would keep the card.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    if process.returncode == 0:
        try:
            return json.loads(output.splitlines()[-1])
        except (ValueError, IndexError):
            return "prints no result"
    return measuring.reason(process.returncode, complaints)


def _device() -> dict:
    """Name, kind and memory of the device, asked in a process of its own: TensorFlow would keep the card here."""
    program = (
        "import json, pixpro_tf\n"
        "from benchmarks.accelerator.device import describe\n"
        "print(json.dumps(describe()))"
    )
    found = run_limited([sys.executable, "-c", program], 90)
    if isinstance(found, str):
        raise SystemExit(f"error: TensorFlow does not start: {found}")
    return found


class Batches:
    """Largest batch for each precision, from the memory of the step by its graph, which is computed while other checks use the card.

    Args:
        device: description of the device.
    """

    # Memory grows linearly with the images.
    _SIZES = (32, 64)

    def __init__(self, device: dict) -> None:
        self._device = device
        self._needed: dict[str, list[int]] = {}
        self._process = None
        if device["kind"] == "GPU":
            self._file = tempfile.NamedTemporaryFile("r", suffix=".json")  # noqa: SIM115
            command = [sys.executable, "-m", "benchmarks.memory", f"--json={self._file.name}"]
            command += ["--precisions=float32,bfloat16", "--images=32,64"]
            self._process = subprocess.Popen(
                command,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=os.environ | {"CUDA_VISIBLE_DEVICES": "-1"},
            )

    def of(self, precision: str, seconds: float) -> int | str:
        """Returns the largest batch for a precision, or why it is unknown after some seconds."""
        if self._process is None:
            return _SMALL["batch_size"]
        if not self._device["bytes"]:
            return "the memory of the card is unknown: nvidia-smi does not tell"
        try:
            if self._process.wait(max(seconds, 0)):
                return "benchmarks.memory failed"
        except subprocess.TimeoutExpired:
            return "benchmarks.memory took too long"
        if not self._needed:
            self._needed = json.load(self._file)["bytes"]
        small, large = self._needed["float32" if precision == "float32" else "bfloat16"]
        each = (large - small) / (self._SIZES[1] - self._SIZES[0])
        limit = _MEMORY_SHARE * self._device["bytes"]
        fitting = [size for size in _BATCHES if small + (size - self._SIZES[0]) * each <= limit]
        return fitting[0] if fitting else "no batch fits"

    def close(self) -> None:
        """Ends the computation if it still runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def measure_step(case: Case, framework: str, deadline: float) -> tuple[Case, Cost | str]:
    """Measures a case, with half of the images as often as the memory is exhausted; returns the case that was measured last."""
    while True:
        left = min(deadline - time.monotonic(), LIMITS["steps"])
        if left < 10:
            return case, "skipped: no time left"
        command = [sys.executable, "-m", "benchmarks.step", f"--case={json.dumps(vars(case))}"]
        found = run_limited([*command, f"--framework={framework}"], left)
        if isinstance(found, dict):
            return case, Cost(**found)
        if case.batch_size < 2 or not any(text in found for text in _OUT_OF_MEMORY):
            return case, found
        case = dataclasses.replace(case, batch_size=case.batch_size // 2)


def _measure_steps(device: dict, batches: Batches, deadline: float) -> Iterator[Row]:
    sizes: dict[str, Any]
    sizes = _SMALL if device["kind"] == "CPU" else {"backbone": Config.backbone, "repeats": 10}
    # CPUs are so slow in float16 that its row would take a minute for each step.
    cases = [each for each in STEPS if device["kind"] == "GPU" or each[0] != "float16"]
    for precision, jit, deterministic, framework in cases:
        batch = batches.of(precision, deadline - time.monotonic())
        case = Case(
            **sizes | {"batch_size": 0 if isinstance(batch, str) else batch},
            precision=precision,
            jit=jit,
            deterministic=deterministic,
        )
        if isinstance(batch, str):
            yield case, framework, batch
            continue
        case, cost = measure_step(case, framework, deadline)
        yield case, framework, cost


def _run(settings: Settings) -> int:
    deadline = time.monotonic() + 60 * settings.minutes
    device = _device()
    print(f"{device['name']}, TensorFlow {device['tensorflow']}, {device['cores']} cores")
    outcomes: list[Outcome] = []
    rows: list[Row] = []
    with contextlib.ExitStack() as stack:
        batches = Batches(device if "steps" in settings.checks else {"kind": "CPU"})
        stack.callback(batches.close)
        for name in settings.checks:
            if name == "steps":
                for row in _measure_steps(device, batches, deadline):
                    rows.append(row)
                    print(table([row]).splitlines()[-1])
                    _write(settings.output, device, outcomes, rows)
                continue
            started = time.monotonic()
            left = min(deadline - started, LIMITS[name])
            found: dict | str = "skipped: no time left"
            if left > 5:
                command = [sys.executable, "-m", "benchmarks.accelerator.checks", name]
                found = run_limited(command, left)
            outcomes.append(Outcome.of(name, found, time.monotonic() - started))
            print(outcomes[-1].line)
            _write(settings.output, device, outcomes, rows)
    if rows:
        print(table(rows))
    print(f"Wrote {settings.output}/accelerator.md and accelerator.json")
    failed = any(each.result == "failed" for each in outcomes)
    failed |= any(isinstance(cost, str) and "skipped" not in cost for *_, cost in rows)
    return int(failed)


def _write(output: str, device: dict, outcomes: list[Outcome], rows: list[Row]) -> None:
    """Writes what has been found so far: what ends this process must not take the results with it."""
    content = {
        "device": device,
        "checks": [vars(each) for each in outcomes],
        "steps": [
            {
                "case": vars(case),
                "framework": framework,
                "cost": cost if isinstance(cost, str) else vars(cost),
            }
            for case, framework, cost in rows
        ],
    }
    os.makedirs(output, exist_ok=True)
    write_texts(
        output,
        {
            "accelerator.json": json.dumps(content, indent=2) + "\n",
            "accelerator.md": markdown(device, outcomes, rows),
        },
    )


main = Command(Settings, __doc__, "python -m benchmarks.accelerator", _run)

if __name__ == "__main__":
    sys.exit(main())
