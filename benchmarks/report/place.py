"""Folders of the runs and results of the report, and the stages of a run."""

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
        work_dir: folder of the runs.
        data_dir: folder of prepared TFDS datasets.
        measurements: folder of the results, which are small enough for a repository; with it, another machine goes on without the runs.
    """

    work_dir: str
    data_dir: str
    measurements: str

    def run_dir(self, run: Run) -> str:
        """Returns the run folder of a backbone."""
        return os.path.join(self.work_dir, "runs", run.name)

    def result_file(self, run: Run, stage: str) -> str:
        """Returns the path of the JSON file with the measurements of a backbone in a stage.

        That of `TRAINING` says that the backbone is in its run folder, and is therefore beside it.
        """
        folder = os.path.join(self.work_dir, "trained") if stage == TRAINING else self.measurements
        return os.path.join(folder, f"{run.name}.{stage}.json")

    def parts_file(self, run: Run, stage: str) -> str:
        """Returns the path of the JSON file with the finished parts of a measurement."""
        return os.path.join(self.work_dir, "parts", f"{run.name}.{stage}.json")
