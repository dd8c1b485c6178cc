"""Faults that a run survives: each function disturbs a run, and resumes it until it is done."""

import contextlib
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

from benchmarks.soak.trials import Trial, Violation

_STOPPED = {signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGUSR1: 138, signal.SIGINT: 130}


class Unavailable(Exception):
    """A fault cannot be caused on this machine."""


def killed(trial: Trial) -> None:
    """SIGKILL at random moments, several times."""
    for _ in range(trial.moments.randint(1, 4)):
        process = trial.start()
        trial.let_work(process)
        process.kill()
        trial.wait(process, (-signal.SIGKILL, 0))
    trial.finish()


def killed_in_writing(trial: Trial) -> None:
    """SIGKILL a moment after a file of a checkpoint has appeared or changed."""
    folder = trial.run_dir / "checkpoints"
    for _ in range(trial.moments.randint(1, 3)):
        process = trial.start()
        before = _state(folder)
        for _ in range(trial.moments.randint(1, 6)):
            while process.poll() is None and _state(folder) == before:
                time.sleep(0.001)
            before = _state(folder)
        time.sleep(trial.moments.uniform(0, 0.03))
        process.kill()
        trial.wait(process, (-signal.SIGKILL, 0))
    trial.finish()


def _state(folder: pathlib.Path) -> list[tuple[str, int]]:
    with contextlib.suppress(OSError):
        return sorted((entry.name, entry.stat().st_size) for entry in os.scandir(folder))
    return []


def stopped(trial: Trial) -> None:
    """SIGTERM, SIGHUP, SIGUSR1 or SIGINT at random moments."""
    for _ in range(trial.moments.randint(1, 4)):
        _stop(trial, trial.start(), trial.moments.choice(list(_STOPPED)))
    trial.finish()


def _stop(trial: Trial, process: subprocess.Popen, number: signal.Signals) -> None:
    trial.let_work(process)
    process.send_signal(number)
    # Before Python has installed a handler, the signal ends the process.
    trial.wait(process, (_STOPPED[number], -number, 0))


def stalled(trial: Trial) -> None:
    """The process is frozen for seconds, as by a disk that does not respond."""
    process = trial.start()
    for _ in range(5):
        trial.let_work(process, most=0.2)
        process.send_signal(signal.SIGSTOP)
        time.sleep(trial.moments.uniform(0, 3))
        process.send_signal(signal.SIGCONT)
    trial.wait(process, (0,))


def started_twice(trial: Trial) -> None:
    """Two processes start in the same folder; one of them trains, the other one is refused."""
    processes = []
    for _ in range(2):
        processes.append(trial.start())
        time.sleep(trial.moments.uniform(0, 2))
    processes.sort(key=lambda process: trial.code(process) == 0)
    refusal = trial.wait(processes[0], (2,))
    if "is in use by another run" not in refusal:
        raise Violation(f"the second process was refused for another reason: {refusal}")
    trial.wait(processes[1], (0,))


def full_disk(trial: Trial) -> None:
    """The disk is full after a random part of what the run writes."""
    size = trial.moments.uniform(0.05, 0.9) * trial.wanted.bytes
    with _disk(trial.run_dir, f"size={int(size) + 4096}") as remount:
        line = trial.wait(trial.start(), (1,))
        if not any(text in line for text in ("No space left", "cannot be written", "full")):
            raise Violation(f"the line does not say that the disk is full: {line}")
        remount(f"size={10 * trial.wanted.bytes}")
        trial.finish()


def read_only_disk(trial: Trial) -> None:
    """A process starts on a disk that is read-only, before the run, and again in the middle of it."""
    with _disk(trial.run_dir, f"size={10 * trial.wanted.bytes}") as remount:
        for _ in range(2):
            remount("ro")
            trial.wait(trial.start(), (1,))
            remount("rw")
            process = trial.start()
            trial.let_work(process)
            process.kill()
            trial.wait(process, (-signal.SIGKILL, 0))
        trial.finish()


def unwritable_files(trial: Trial) -> None:
    """No file can grow any more from a random moment on, as when a quota is used up."""
    process = trial.start()
    trial.let_work(process)
    with contextlib.suppress(ProcessLookupError):
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    trial.wait(process, (1, 0))
    trial.finish()


@contextlib.contextmanager
def _disk(folder: pathlib.Path, options: str) -> Iterator[Callable[[str], None]]:
    """Mounts a disk in memory; yields a function that changes its options."""
    if os.geteuid():
        raise Unavailable("only root can mount a disk")
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o"]
    if subprocess.run([*mount, options, "tmpfs", folder], capture_output=True).returncode:
        raise Unavailable("a disk in memory cannot be mounted here")

    def remount(changed: str) -> None:
        subprocess.run(
            ["mount", "-o", f"remount,{changed}", folder], check=True, capture_output=True
        )

    try:
        yield remount
    finally:
        # The run stays when the disk goes.
        kept = folder.with_name(f"{folder.name}-kept")
        shutil.copytree(folder, kept)
        subprocess.run(["umount", "-l", folder], check=False)
        folder.rmdir()
        kept.rename(folder)


def clock_jumps(trial: Trial) -> None:
    """The clock of each process is days ahead of that of the one before, or days behind it."""
    if not shutil.which("faketime"):
        raise Unavailable("the program faketime is not installed")
    for _ in range(2):
        # Never ahead of the kernel's own clock: TensorFlow waits until moments of this clock, which would be days away.
        days = trial.moments.randint(-800, 0)
        # The program itself would not pass on signals.
        asked = ("faketime", "-f", f"{days}d", "printenv", "LD_PRELOAD", "FAKETIME")
        library, fake = subprocess.run(asked, capture_output=True, text=True).stdout.split()
        process = trial.start(("env", f"LD_PRELOAD={library}", f"FAKETIME={fake}"))
        _stop(trial, process, signal.SIGTERM)
    trial.finish()


FAULTS: dict[str, Callable[[Trial], None]] = {
    function.__name__: function
    for function in (
        killed,
        killed_in_writing,
        stopped,
        stalled,
        started_twice,
        full_disk,
        read_only_disk,
        unwritable_files,
        clock_jumps,
    )
}
