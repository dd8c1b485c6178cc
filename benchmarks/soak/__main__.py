"""Trains small runs under faults for hours, and compares their final weights with an undisturbed run, bit for bit.

python -m benchmarks.soak --hours=2 --output=soak
"""

import collections
import concurrent.futures
import dataclasses
import itertools
import json
import pathlib
import random
import shutil
import sys
import threading
import time

from benchmarks.soak.faults import FAULTS, Unavailable
from benchmarks.soak.trials import Trial, Violation, reference
from pixpro_tf.cli.commands import Command
from pixpro_tf.cli.settings import CheckedSettings, overwrite_flag
from pixpro_tf.config.flag import flag, required
from pixpro_tf.errors import RunError
from tests.support.tiny_run import STEPS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(CheckedSettings):
    """Flags of the soak test."""

    hours: float = flag(2.0, "Soak", "time after which no new run starts", unit="hours", minimum=0)
    faults: tuple[str, ...] = flag(
        tuple(FAULTS), "Soak", "faults to cause, in turns", choices=tuple(FAULTS)
    )
    seed: int = flag(0, "Soak", "seed of the moments of the faults", minimum=0)
    jobs: int = flag(1, "Soak", "disturbed runs at a time", minimum=1)
    output: str = required(
        "Output", "folder to create, with results.json and the runs that violate what is expected"
    )
    overwrite: bool = overwrite_flag()


def _run(settings: Settings) -> int:
    output = pathlib.Path(settings.output)
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    wanted = reference(output / "reference")
    end = time.monotonic() + 3600 * settings.hours
    print(f"An undisturbed run takes {wanted.seconds:.0f} s and has {STEPS} steps.")
    results: list[dict] = []
    unavailable: set[str] = set()
    numbers = itertools.count()
    lock = threading.Lock()

    def disturb_runs() -> None:
        while time.monotonic() < end:
            number = next(numbers)
            name = settings.faults[number % len(settings.faults)]
            if name in unavailable:
                if unavailable.issuperset(settings.faults):
                    return
                continue
            moments = random.Random(f"{settings.seed} {number}")
            trial = Trial(output / f"{number:04d}-{name}", wanted, moments)
            try:
                violation = _disturb(trial, name)
            except Unavailable as error:
                print(f"{name}: not tried: {error}", flush=True)
                unavailable.add(name)
                continue
            with lock:
                results.append(trial.result(name, violation))
                (output / "results.json").write_text(json.dumps(results, indent=2) + "\n")

    with concurrent.futures.ThreadPoolExecutor(settings.jobs) as pool:
        for job in [pool.submit(disturb_runs) for _ in range(settings.jobs)]:
            job.result()
    if not results and unavailable.issuperset(settings.faults):
        raise RunError("none of the faults can be caused on this machine; see the lines above")
    if not results:
        raise RunError(f"--hours={settings.hours:g} is too short for a single run; use more")
    return _print_table(results)


def _disturb(trial: Trial, name: str) -> str:
    """Causes a fault, and returns what is violated; removes the run if nothing is."""
    try:
        FAULTS[name](trial)
        trial.check()
    except Violation as error:
        print(f"{name}: VIOLATION in {trial.run_dir}: {error}", flush=True)
        return str(error)
    print(f"{name}: {trial.ends}: the same weights", flush=True)
    shutil.rmtree(trial.run_dir)
    return ""


def _print_table(results: list[dict]) -> int:
    """Prints one line per fault, and returns the exit code."""
    print(f"\n{'fault':<18}{'runs':>6}{'processes':>11}{'violations':>12}")
    by_fault = collections.defaultdict(list)
    for result in results:
        by_fault[result["fault"]].append(result)
    for name, group in by_fault.items():
        processes = sum(len(result["ends"]) for result in group)
        violations = sum(bool(result["violation"]) for result in group)
        print(f"{name:<18}{len(group):>6}{processes:>11}{violations:>12}")
    return int(any(result["violation"] for result in results))


main = Command(Settings, __doc__, "python -m benchmarks.soak", _run)

if __name__ == "__main__":
    sys.exit(main())
