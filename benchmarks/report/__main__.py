"""Does pixel-level pre-training pay for dense tasks? Trains and measures every method of a plan, and writes the page that shows it.

    python -m benchmarks.report --plan=configs/report/full.json --output=docs/report

What is done stays in `--work_dir`, and the same command goes on from there. Rates are chosen on the
validation split; the test split is read once a backbone, after that.
"""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

from benchmarks.report.page import write_page
from benchmarks.report.place import CHOICE, MEASUREMENT, Place
from benchmarks.report.plan import Plan, Run, read_plan
from benchmarks.report.results import chosen_rates, read_result
from pixpro_tf.cli.commands import Command
from pixpro_tf.cli.settings import CheckedSettings
from pixpro_tf.config.flag import flag
from pixpro_tf.errors import RunError

_LAST_LINES = 12


def check_conditions(plan: Plan, place: Place) -> None:
    """Writes down under which conditions results are found, and refuses to take those of others.

    Raises:
        RunError: if what lies in `work_dir` was found by a plan that differs in what results depend on.
    """
    path = os.path.join(place.work_dir, "conditions.json")
    now, before = plan.conditions(), {}
    if os.path.exists(path):
        with open(path) as file:
            before = json.load(file)
    differing = [name for name in now if before.get(name, now[name]) != now[name]]
    if differing:
        raise RunError(
            f"--work_dir={place.work_dir} holds results of another plan, which differs in {', '.join(differing)}; give another one"
        )
    os.makedirs(place.work_dir, exist_ok=True)
    with open(path, "w") as file:
        json.dump(before | now, file, indent=2)


def _check_packages():
    """What measuring needs; it would be missed hours later."""
    from pixpro_tf.data.sources.folders import photographs
    from pixpro_tf.evaluation.object_detection.coco import require_pycocotools

    require_pycocotools()
    photographs()


def measure_all(
    plan_file: str, plan: Plan, place: Place, runs: list[Run], stage: str, jobs: int
) -> None:
    """Trains and measures backbones, several at a time, and tells how far it has come.

    Args:
        plan_file, plan, place: of the report.
        runs: those that are wanted; what is done is passed over.
        stage: `CHOICE` or `MEASUREMENT`.
        jobs: how many at a time; the processor's cores are shared out among them.

    Raises:
        RunError: if one fails, with the end of its log.
    """
    left = [run for run in runs if not os.path.exists(place.result_file(run, stage))]
    done = len(runs) - len(left)
    print(f"{stage}: {done} of {len(runs)} backbones are measured", flush=True)
    cores = _shared_out(sorted(os.sched_getaffinity(0)), jobs)
    started, finished = time.monotonic(), 0
    working: dict[int, tuple[Run, subprocess.Popen]] = {}
    with _stopped_at_the_end(working):
        while left or working:
            for slot in range(jobs):
                if left and slot not in working:
                    run = left.pop(0)
                    working[slot] = run, _start(plan_file, place, run, stage, cores[slot])
            time.sleep(0.5)
            for slot, (run, process) in list(working.items()):
                if process.poll() is None:
                    continue
                del working[slot]
                if process.returncode:
                    raise RunError(
                        f"{run.name} failed; the end of {_log(place, run, stage)}:\n{_end_of(_log(place, run, stage))}"
                    )
                finished += 1
                seconds = (time.monotonic() - started) / finished * (len(left) + len(working))
                mean_iou = read_result(place, run, stage)["mean_iou"]
                print(
                    f"{stage}: {done + finished} of {len(runs)}, {run.name}: mIoU {100 * mean_iou:.1f}; "
                    f"about {_duration(seconds)} left",
                    flush=True,
                )


def _start(plan_file, place, run, stage, cores) -> subprocess.Popen:
    command = ["benchmarks.report.one", plan_file, place.work_dir, place.data_dir]
    command += [run.method.name, f"{run.rate!r}", str(run.seed), stage]
    log = _log(place, run, stage)
    os.makedirs(os.path.dirname(log), exist_ok=True)
    with open(log, "w") as file:
        return subprocess.Popen(
            [sys.executable, "-m", *command],
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )


def _shared_out(cores: list[int], jobs: int) -> list[list[int]]:
    """Cores of each job; with fewer cores than jobs, jobs share them."""
    return [cores[slot::jobs] or [cores[slot % len(cores)]] for slot in range(jobs)]


@contextlib.contextmanager
def _stopped_at_the_end(working: dict[int, tuple[Run, subprocess.Popen]]) -> Iterator[None]:
    """Lets no process outlive an error or Ctrl-C; training writes a checkpoint when it is told to end."""
    try:
        yield
    finally:
        for _, process in working.values():
            process.terminate()
        for _, process in working.values():
            process.wait()


def _log(place, run, stage) -> str:
    return os.path.join(place.work_dir, "logs", f"{run.name}.{stage}.txt")


def _end_of(path: str) -> str:
    with open(path, errors="replace") as file:
        return "".join(file.readlines()[-_LAST_LINES:]).rstrip()


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(CheckedSettings):
    """Which plan is carried out, and where."""

    plan: str = flag("configs/report/full.json", "Report", "what is trained and measured")
    output: str = flag(
        "docs/report", "Report", "folder of the page; what is of an older one there is replaced"
    )
    work_dir: str = flag(
        "runs/report", "Report", "folder of the runs and results; one for each plan"
    )
    data_dir: str = flag("data", "Report", "where TFDS keeps prepared datasets")
    jobs: int = flag(
        2,
        "Report",
        "backbones at a time; the cores are shared out among them",
        minimum=1,
    )


def _run(flags: Settings) -> None:
    plan = read_plan(flags.plan)
    place = Place(flags.work_dir, flags.data_dir)
    check_conditions(plan, place)
    _check_packages()
    from pixpro_tf.data.sources.tfds_datasets import prepared_builder

    # Before several processes want it.
    prepared_builder(plan.dataset, flags.data_dir)
    started = time.monotonic()
    measure_all(flags.plan, plan, place, plan.selection_runs(), CHOICE, flags.jobs)
    rates = chosen_rates(plan, place)
    for name, rate in rates.items():
        if rate:
            print(f"{name}: rate {rate:g}")
    measure_all(flags.plan, plan, place, plan.measured_runs(rates), MEASUREMENT, flags.jobs)
    write_page(flags.output, flags.plan, plan, place, rates)
    print(f"Written to {flags.output}; {_duration(time.monotonic() - started)} this time")


main = Command(Settings, __doc__, "python -m benchmarks.report", _run)

if __name__ == "__main__":
    # Then `kill` too ends the processes that were started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
