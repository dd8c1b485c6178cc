"""Where the report's runs and results lie, and what is measured in which stage."""

import dataclasses
import os

from benchmarks.report.plan import Run

# What is measured of a backbone: the linear layer's mIoU on the validation split, by which rates are chosen; or everything.
CHOICE, MEASUREMENT = "choice", "measurement"


@dataclasses.dataclass(frozen=True)
class Place:
    """Where the report's runs and results lie.

    Attributes:
        work_dir: folder of both.
        data_dir: of TFDS.
    """

    work_dir: str
    data_dir: str

    def run_dir(self, run: Run) -> str:
        """Folder of a backbone."""
        return os.path.join(self.work_dir, "runs", run.name)

    def result_file(self, run: Run, stage: str) -> str:
        """What was measured of it in a stage, as JSON."""
        return os.path.join(self.work_dir, "results", f"{run.name}.{stage}.json")
