"""Processes of one disturbed run, and the comparison of what they leave with an undisturbed run."""

import dataclasses
import os
import pathlib
import random
import resource
import subprocess
import sys
import time

import numpy as np

from benchmarks.measuring import reason
from pixpro_tf.errors import RunError
from tests.support import tiny_run

ROOT = pathlib.Path(__file__).parent.parent.parent
_FLAGS = (
    *tiny_run.FLAGS,
    "--log_every=1",
    "--pictures_every=20",
    "--checkpoint_every=4",
    "--keep_every=4",
    "--strategy=one_device",
)
# A process that takes longer than this many undisturbed runs hangs.
_PATIENCE = 10
_TIMINGS = ("images_per_second", "data_wait_share")


class Violation(Exception):
    """Something that must not happen, whatever disturbs a run."""


@dataclasses.dataclass(frozen=True)
class Reference:
    """Undisturbed run.

    Attributes:
        photos: folder of the images.
        weights: variables of the final checkpoint by name.
        metrics: lines of the metrics, without timings.
        seconds: duration of the run.
        used: seconds of processor time that it used.
        bytes: size of its folder.
    """

    photos: pathlib.Path
    weights: dict[str, np.ndarray]
    metrics: list[dict]
    seconds: float
    used: float
    bytes: int


def reference(folder: pathlib.Path) -> Reference:
    """Trains the undisturbed run; raises `RunError` if it fails."""
    photos, run_dir = folder / "photos", folder / "run"
    photos.mkdir(parents=True)
    tiny_run.write_photos(photos)
    started, used = time.monotonic(), _used_by_children()
    process = _start(photos, run_dir)
    _, complaints = process.communicate()
    seconds, used = time.monotonic() - started, _used_by_children() - used
    if process.returncode:
        raise RunError(f"the undisturbed run failed: {reason(process.returncode, complaints)}")
    return Reference(
        photos,
        tiny_run.weights_of(run_dir),
        _metrics(run_dir),
        seconds,
        used,
        sum(path.stat().st_size for path in run_dir.rglob("*") if path.is_file()),
    )


def _start(
    photos: pathlib.Path, run_dir: pathlib.Path, prefix: tuple[str, ...] = ()
) -> subprocess.Popen:
    command = [*prefix, sys.executable, str(ROOT / "train.py"), *_FLAGS]
    return subprocess.Popen(
        [*command, f"--dataset=folder:{photos}", f"--run_dir={run_dir}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
    )


def _used_by_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _used_by(process: subprocess.Popen) -> float:
    """Returns the seconds of processor time that a running process has used."""
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _metrics(run_dir: pathlib.Path) -> list[dict]:
    return [
        {name: value for name, value in line.items() if name not in _TIMINGS}
        for line in tiny_run.metrics_of(run_dir)
    ]


class Trial:
    """One run that is disturbed, in one or more processes.

    Args:
        run_dir: folder of the run.
        wanted: undisturbed run.
        moments: generator of the moments of the faults.

    Attributes:
        ends: how each process of the run ended: its exit code, or minus the number of the signal that killed it.
    """

    def __init__(self, run_dir: pathlib.Path, wanted: Reference, moments: random.Random) -> None:
        self.run_dir, self.wanted, self.moments = run_dir, wanted, moments
        self.ends: list[int] = []
        self._started = time.monotonic()

    def start(self, prefix: tuple[str, ...] = ()) -> subprocess.Popen:
        """Starts a process of the run, through another program if `prefix` names one."""
        return _start(self.wanted.photos, self.run_dir, prefix)

    def let_work(self, process: subprocess.Popen, most: float = 1.0) -> None:
        """Lets a process work until a random moment.

        The moment is one of processor time, so that other work on the machine does not shift it into the start of the process.

        Args:
            process: process that `start` returned.
            most: largest moment, as a share of the undisturbed run.
        """
        moment = _used_by(process) + self.moments.uniform(0, most * self.wanted.used)
        end = time.monotonic() + _PATIENCE * self.wanted.seconds
        while process.poll() is None and _used_by(process) < moment:
            if time.monotonic() > end:
                process.kill()
                raise Violation(f"hangs after {_PATIENCE} times the duration of the run")
            time.sleep(0.005)

    def code(self, process: subprocess.Popen) -> int:
        """Returns the exit code of a process when it has ended; raises `Violation` if it hangs."""
        try:
            # The lines of a run fit into the pipe, so nothing has to read them until its end.
            return process.wait(timeout=_PATIENCE * self.wanted.seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            raise Violation(f"hangs after {_PATIENCE} times the duration of the run") from None

    def wait(self, process: subprocess.Popen, expected: tuple[int, ...]) -> str:
        """Waits for the end of a process.

        Args:
            process: process that `start` returned.
            expected: exit codes that are right.

        Returns:
            The line of the error; empty if there is none.

        Raises:
            Violation: if the process hangs, prints a traceback, or ends in another way.
        """
        self.code(process)
        _, complaints = process.communicate()
        self.ends.append(process.returncode)
        errors = [line for line in complaints.splitlines() if line.startswith("error: ")]
        if process.returncode >= 0 and "Traceback" in complaints:
            raise Violation(f"traceback: {complaints.strip().splitlines()[-1]}")
        if process.returncode not in expected:
            raise Violation(
                f"exit code {process.returncode}, expected {expected}: {errors or complaints[-300:]}"
            )
        if len(errors) > 1 or (process.returncode in (1, 2) and not errors):
            raise Violation(f"{len(errors)} lines of errors: {errors}")
        return errors[0] if errors else ""

    def finish(self) -> None:
        """Resumes the run, undisturbed, until it is done."""
        self.wait(self.start(), (0,))

    def check(self) -> None:
        """Raises `Violation` unless the finished run equals the undisturbed one."""
        found = tiny_run.weights_of(self.run_dir)
        if found.keys() != self.wanted.weights.keys():
            raise Violation("the checkpoint has other variables")
        for name, value in self.wanted.weights.items():
            if not np.array_equal(found[name], value):
                raise Violation(f"{name} differs")
        if _metrics(self.run_dir) != self.wanted.metrics:
            raise Violation("the metrics differ")
        left = [path.name for path in self.run_dir.rglob("*.writing")]
        if left:
            raise Violation(f"incomplete files are left: {left}")

    def result(self, fault: str, violation: str) -> dict:
        """Returns the entry of results.json."""
        return {
            "fault": fault,
            "ends": self.ends,
            "seconds": round(time.monotonic() - self._started, 1),
            "violation": violation,
        }
