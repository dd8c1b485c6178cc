"""Folders of the runs and results of the report, and its two stages of measurement."""

import dataclasses
import os

from benchmarks.report.plan import Run

# Stages: TRAINING only trains, CHOICE measures the mIoU of the linear layer on the validation split, by which learning rates are chosen, and
# MEASUREMENT measures everything.
TRAINING, CHOICE, MEASUREMENT = "training", "choice", "measurement"


@dataclasses.dataclass(frozen=True)
class Place:
    """Folders of the runs and results of the report.

    Attributes:
        work_dir: folder of both runs and results.
        data_dir: folder of prepared TFDS datasets.
    """

    work_dir: str
    data_dir: str

    def run_dir(self, run: Run) -> str:
        """Returns the run folder of a backbone."""
        return os.path.join(self.work_dir, "runs", run.name)

    def result_file(self, run: Run, stage: str) -> str:
        """Returns the path of the JSON file with the measurements of a backbone in a stage."""
        return os.path.join(self.work_dir, "results", f"{run.name}.{stage}.json")
