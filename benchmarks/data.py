"""Measures images per second and core of the input pipeline, by stage: read, decode, crop, photometric, and all together.

    python -m benchmarks.data

The images are 500 x 375 JPEGs of quality 92, random parts of the photographs of scikit-image, never enlarged, and written again in each
run. All rows but the last run on one core, to which the process is bound (Linux only). The stages take turns; a row shows the median of all
rounds and their range. Crops and photometric augmentation are those of the main recipe, and a pair is two views. `photometric` augments
views in memory, in batches as in the pipeline.
"""

import dataclasses
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from benchmarks import measuring
from pixpro_tf.cli.command_line import arguments_of
from pixpro_tf.cli.commands import Command
from pixpro_tf.cli.settings import CheckedSettings
from pixpro_tf.config import Config
from pixpro_tf.config.flag import INTERNAL, flag, refuse
from pixpro_tf.data.views.policies import POLICIES

# Size and quality of typical ImageNet files.
WIDTH, HEIGHT, QUALITY = 500, 375, 92
PARTS = ("one core", "all cores")
ON_ALL_CORES = "photometric on the device"
# Number of batches before the measurement, which take what the pipeline has prefetched.
_WARM_UP = 5

Rates = dict[str, list[float]]


def measure(flags: "Settings") -> Rates:
    """Measures the images per second of each stage in each round, in this process."""
    from benchmarks.data_stages import stages

    begins = stages(flags)
    rates: Rates = {name: [] for name in begins}
    for _ in range(flags.rounds):
        for name, begin in begins.items():
            rates[name].append(flags.batch_size * batches_per_second(begin(), flags.seconds))
    return rates


def batches_per_second(work: Iterator, seconds: float) -> float:
    """Returns how many elements of an iterator arrive per second, after some that do not count."""
    for _ in range(_WARM_UP):
        next(work)
    done, started = 0, time.perf_counter()
    while (passed := time.perf_counter() - started) < seconds:
        next(work)
        done += 1
    return done / passed


def table(rates: Rates, cores: int) -> str:
    """Formats a row for each stage: images per second (median and range); two views of an image are a pair."""
    lines = [f"{'stage':<34}{'cores':>6}{'images/s':>10}{'range':>16}  of"]
    for name, each in rates.items():
        middle = statistics.median(each)
        spread = measuring.spread(each, ".0f")
        used = cores if name == ON_ALL_CORES else 1
        counted = "images" if name in ("read", "read, decode") else "pairs"
        lines.append(f"{name:<34}{used:>6}{middle:>10.1f}{spread:>16}  {counted}")
    return "\n".join(lines)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(CheckedSettings):
    """Stages to measure, and for how long."""

    images: int = flag(220, "Data", "number of JPEGs to create", minimum=1)
    batch_size: int = flag(32, "Data", "batch size, at most --images", unit="images", minimum=1)
    image_size: int = flag(224, "Data", "side of a view", unit="pixels", minimum=1)
    augmentation: str = flag(
        Config.augmentation, "Data", "photometric augmentation policy", choices=tuple(POLICIES)
    )
    rounds: int = flag(5, "Time", "number of rounds; each stage runs once per round", minimum=1)
    seconds: float = flag(3.0, "Time", "seconds per stage and round", minimum=1e-3)
    json: str = flag("", "Output", "JSON file for the throughputs; empty to write none")
    part: str = flag("", INTERNAL, "stages to measure", choices=("", *PARTS))
    folder: str = flag("", INTERNAL, "folder of the JPEGs")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size > self.images:
            refuse(self, "batch_size", f"must be at most --images={self.images}")


def _run(flags: Settings) -> None:
    cores = os.sched_getaffinity(0)
    if flags.part:
        if flags.part == "one core":
            # Bound before TensorFlow creates its threads, one per core.
            os.sched_setaffinity(0, {min(cores)})
        print(json.dumps(measure(flags)))
        return

    from benchmarks.data_stages import write_images

    rates: Rates = {}
    with tempfile.TemporaryDirectory() as folder:
        write_images(pathlib.Path(folder), flags.images)
        for part in PARTS:
            asked = dataclasses.replace(flags, part=part, folder=folder)
            command = [sys.executable, "-m", "benchmarks.data", *arguments_of(asked)]
            process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            rates |= json.loads(process.stdout)
        sizes = [file.stat().st_size for file in pathlib.Path(folder).iterdir()]
    print(f"{flags.images} JPEGs of {WIDTH} x {HEIGHT}, {statistics.mean(sizes) / 1e3:.0f} KB each")
    print(table(rates, len(cores)))
    if flags.json:
        with open(flags.json, "w") as file:
            json.dump({"flags": vars(flags), "images_per_second": rates}, file, indent=2)


main = Command(Settings, __doc__, "python -m benchmarks.data", _run)

if __name__ == "__main__":
    sys.exit(main())
