"""Compares pre-training methods on dense tasks: trains and measures every method of a plan, and writes a page of results.

    python -m benchmarks.report --plan=configs/report/methods.json --output=docs/report/methods

Finished work stays in `--work_dir`, and the same command resumes from there; on another machine, from `--measurements`. With
`--train_only`, an accelerator trains the backbones, and another machine measures them later. Learning rates are chosen on the validation
split; after that, the test split is read once per backbone.
"""

import contextlib
import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Iterator

from benchmarks.measuring import reason
from benchmarks.report.conditions import check_conditions
from benchmarks.report.page import write_page
from benchmarks.report.place import CHOICE, MEASUREMENT, TRAINING, Place
from benchmarks.report.plan import Plan, Run, read_plan
from benchmarks.report.results import chosen_rates, read_result, selection_runs
from pixpro_tf.cli import command_line
from pixpro_tf.cli.commands import Command
from pixpro_tf.cli.outputs import locked
from pixpro_tf.cli.settings import CheckedSettings
from pixpro_tf.config import Config
from pixpro_tf.config.flag import flag
from pixpro_tf.data.progress import duration
from pixpro_tf.errors import RunError


def _check_photographs():
    """Opens the photographs, because missing ones would be noticed only hours later."""
    from pixpro_tf.data.sources.folders import photographs

    photographs()


def _prepare_data(plan: Plan, data_dir: str):
    """Prepares all datasets once, before several processes need them, and finds out whether all images are there."""
    from pixpro_tf.data.sources import open_source
    from pixpro_tf.data.sources.tfds_datasets import prepared_builder

    for dataset in dict.fromkeys((plan.dataset, *(method.dataset for method in plan.methods))):
        if dataset:
            prepared_builder(dataset, data_dir)
    flags = [plan.training_flags(each) for each in plan.methods if each.kind == "pretrained"]
    configs = [command_line.parse(Config, each) for each in flags]
    # Most methods have the same images.
    for config in {each.dataset: each for each in configs if each is not None}.values():
        open_source(
            config.dataset,
            data_dir=data_dir,
            split=config.split,
            shuffle_buffer=config.shuffle_buffer,
            channels=config.image_channels,
        )


def measure_all(
    plan_file: str, plan: Plan, place: Place, runs: list[Run], stage: str, jobs: int
) -> None:
    """Trains and measures backbones, several at a time, and prints progress.

    Args:
        plan_file, plan, place: file of the plan, the plan itself, and the folders of the report.
        runs: runs to measure; finished ones are skipped.
        stage: `TRAINING`, `CHOICE` or `MEASUREMENT`.
        jobs: number of backbones at a time; they share the cores of the processor.

    Raises:
        RunError: if a run fails, with the last line of its log.
    """
    left = [run for run in runs if not os.path.exists(place.result_file(run, stage))]
    # Where results come from another machine, the backbones from which others start may be missing.
    starts = dict.fromkeys(plan.start_of(run) for run in left if run.method.init_from)
    if starts:
        measure_all(plan_file, plan, place, [*starts], TRAINING, jobs)
    done = len(runs) - len(left)
    print(f"{stage}: {done} of {len(runs)} backbones are finished", flush=True)
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
                    log = _log(place, run, stage)
                    why = reason(process.returncode, _last_line_of(log))
                    raise RunError(f"{run.name} failed: {why}; see {log}")
                finished += 1
                seconds = (time.monotonic() - started) / finished * (len(left) + len(working))
                result = read_result(place, run, stage)
                score = (
                    f"mIoU {100 * result['mean_iou']:.1f}" if "mean_iou" in result else "trained"
                )
                print(
                    f"{stage}: {done + finished} of {len(runs)}, {run.name}: {score}; "
                    f"about {duration(seconds)} left",
                    flush=True,
                )


def _start(plan_file, place, run, stage, cores) -> subprocess.Popen:
    command = ["benchmarks.report.one", plan_file]
    command += [place.work_dir, place.data_dir, place.measurements]
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
    """Returns the cores of each job; if there are fewer cores than jobs, jobs share cores."""
    return [cores[slot::jobs] or [cores[slot % len(cores)]] for slot in range(jobs)]


@contextlib.contextmanager
def _stopped_at_the_end(working: dict[int, tuple[Run, subprocess.Popen]]) -> Iterator[None]:
    """Terminates the processes on an error or Ctrl-C; training then writes a checkpoint."""
    try:
        yield
    finally:
        for _, process in working.values():
            process.terminate()
        for _, process in working.values():
            process.wait()


def _log(place, run, stage) -> str:
    return os.path.join(place.work_dir, "logs", f"{run.name}.{stage}.txt")


def _last_line_of(path: str) -> str:
    with open(path, errors="replace") as file:
        return "".join(file.readlines()[-1:])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(CheckedSettings):
    """Plan to carry out, and its folders."""

    plan: str = flag("configs/report/methods.json", "Report", "JSON file of the methods to compare")
    output: str = flag(
        "",
        "Report",
        "folder of the page, whose older content is replaced; empty for the folder page in --work_dir",
        path=True,
    )
    work_dir: str = flag(
        "runs/report", "Report", "folder of the runs and results; use one per plan", path=True
    )
    measurements: str = flag(
        "",
        "Report",
        "folder of the results, to go on with them on another machine; empty for the folder measurements in --work_dir",
        path=True,
    )
    data_dir: str = flag("data", "Report", "folder of prepared TFDS datasets", path=True)
    jobs: int = flag(
        2,
        "Report",
        "number of backbones to train or measure in parallel; they share the cores",
        minimum=1,
    )
    train_only: bool = flag(
        False,
        "Report",
        "whether to stop after pre-training, for a machine with an accelerator, and measure later, without this flag, on another one",
    )


def _run(flags: Settings) -> None:
    from pixpro_tf.cli.shard_runners import hide_gpus

    # The processes that train need the memory of the GPU, which TensorFlow would reserve for this one.
    hide_gpus()
    plan = read_plan(flags.plan)
    measurements = flags.measurements or os.path.join(flags.work_dir, "measurements")
    place = Place(flags.work_dir, flags.data_dir, measurements)
    os.makedirs(flags.work_dir, exist_ok=True)
    # A report that was terminated may still be saving checkpoints.
    refusal = f"--work_dir={flags.work_dir} is in use by another report; wait until it has ended"
    with locked(os.path.join(flags.work_dir, ".lock"), refusal):
        _carry_out(flags, plan, place)


def _carry_out(flags: Settings, plan: Plan, place: Place) -> None:
    check_conditions(plan, place)
    _check_photographs()
    _prepare_data(plan, flags.data_dir)
    started = time.monotonic()
    if plan.starts():
        measure_all(flags.plan, plan, place, plan.starts(), CHOICE, flags.jobs)
    runs: list[Run] = []
    # What is measured in one round may extend the grids of the next.
    while (wanted := selection_runs(plan, place)) != runs:
        runs = wanted
        measure_all(flags.plan, plan, place, runs, CHOICE, flags.jobs)
    rates = chosen_rates(plan, place)
    if flags.train_only:
        pretrained = [run for run in plan.measured_runs(rates) if run.method.kind == "pretrained"]
        measure_all(flags.plan, plan, place, pretrained, TRAINING, flags.jobs)
        return
    for name, rate in rates.items():
        if rate:
            print(f"{name}: learning rate {rate:g}")
    measure_all(flags.plan, plan, place, plan.measured_runs(rates), MEASUREMENT, flags.jobs)
    measure_all(flags.plan, plan, place, plan.pictured_runs(rates), TRAINING, flags.jobs)
    output = flags.output or os.path.join(flags.work_dir, "page")
    write_page(output, flags.plan, plan, place, rates)
    print(f"Wrote {output}; this command took {duration(time.monotonic() - started)}")


main = Command(Settings, __doc__, "python -m benchmarks.report", _run)

if __name__ == "__main__":
    sys.exit(main())
