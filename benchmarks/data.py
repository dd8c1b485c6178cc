"""Images per second and core of each stage of the input pipeline: reading, decoding, crops, colours, and all of it together.

    python -m benchmarks.data

The images are 500 x 375 JPEGs of quality 92, cut at random from the photographs of scikit-image, never enlarged, and made anew each time.
Everything but the last row runs on one core, to which the process is bound (Linux only); the stages take turns, and a row is the median
of all rounds and their range. Crops and colours are those of the main recipe, and a pair is two views. `photometric` changes the colours
of views that are in memory, in batches as the pipeline has them.
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

# What ImageNet's files are like.
WIDTH, HEIGHT, QUALITY = 500, 375, 92
PARTS = ("one core", "all cores")
ON_ALL_CORES = "photometric on the device"
# Elements that a pipeline makes ahead are none of the time that is measured.
_WARM_UP = 5

Rates = dict[str, list[float]]


def measure(flags: "Settings") -> Rates:
    """Images per second of each stage, in each round, in this process."""
    from benchmarks.data_stages import stages

    begins = stages(flags)
    rates: Rates = {name: [] for name in begins}
    for _ in range(flags.rounds):
        for name, begin in begins.items():
            rates[name].append(flags.batch_size * _batches_per_second(begin(), flags.seconds))
    return rates


def _batches_per_second(work: Iterator, seconds: float) -> float:
    for _ in range(_WARM_UP):
        next(work)
    done, started = 0, time.perf_counter()
    while (passed := time.perf_counter() - started) < seconds:
        next(work)
        done += 1
    return done / passed


def table(rates: Rates, cores: int) -> str:
    """A row for each stage: images per second, the median and the range; two views of an image are a pair."""
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
    """What is measured, and for how long."""

    images: int = flag(220, "Data", "files that are made", minimum=1)
    batch_size: int = flag(32, "Data", "at most the images", unit="images", minimum=1)
    image_size: int = flag(224, "Data", "side of a view", unit="pixels", minimum=1)
    augmentation: str = flag(
        Config.augmentation, "Data", "photometric policy", choices=tuple(POLICIES)
    )
    rounds: int = flag(5, "Time", "in each of which each stage runs once", minimum=1)
    seconds: float = flag(3.0, "Time", "of each stage in each round", minimum=1e-3)
    json: str = flag("", "Output", "file to write the rates to; empty is none")
    part: str = flag("", INTERNAL, "which stages", choices=("", *PARTS))
    folder: str = flag("", INTERNAL, "of the files")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size > self.images:
            refuse(self, "batch_size", f"is more than --images={self.images}")


def _run(flags: Settings) -> None:
    cores = os.sched_getaffinity(0)
    if flags.part:
        if flags.part == "one core":
            # Before TensorFlow makes its threads, as many as there are cores.
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
