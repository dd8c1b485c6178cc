"""Trains one backbone of the report and measures it, in its own process.

python -m benchmarks.report.one PLAN WORK_DIR DATA_DIR MEASUREMENTS METHOD RATE SEED STAGE
"""

import sys

from benchmarks.report.conditions import differences
from benchmarks.report.place import Place
from benchmarks.report.plan import Run, read_plan
from pixpro_tf.cli.commands import exit_code_of, quiet_libraries
from pixpro_tf.errors import RunError


def _main(arguments: list[str]) -> None:
    if len(arguments) != 8:
        raise RunError(
            f"eight arguments are required (got {len(arguments)}): PLAN WORK_DIR DATA_DIR MEASUREMENTS METHOD RATE SEED STAGE"
        )
    plan_file, work_dir, data_dir, measurements, method, rate, seed, stage = arguments
    quiet_libraries()
    from benchmarks.report.backbone import measure

    plan = read_plan(plan_file)
    # The plan may have been edited since the report has begun.
    for folder in (work_dir, measurements):
        if names := differences(plan, folder):
            raise RunError(
                f"{plan_file} has changed in {', '.join(names)} since {folder} was begun; restore it, or use other folders"
            )
    run = Run(plan.method(method), float(rate), int(seed))
    measure(plan, Place(work_dir, data_dir, measurements), run, stage)


if __name__ == "__main__":
    sys.exit(exit_code_of(lambda: _main(sys.argv[1:])))
