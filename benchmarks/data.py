"""Images per second and core of each stage of the input pipeline: reading, decoding, crops, colours, and all of it together.

    python -m benchmarks.data

The images are 500 x 375 JPEGs of quality 92, cut at random from the photographs of scikit-image, never enlarged, and made anew each time.
Everything but the last row runs on one core, to which the process is bound (Linux only); the stages take turns, and a row is the median
of all rounds and their range. Crops and colours are those of the main recipe, and a pair is two views. `photometric` changes the colours
of views that are in memory, in batches as the pipeline has them.
"""

import argparse
import functools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

from benchmarks import measuring
from benchmarks.measuring import positive
from pixpro_tf.cli.commands import quiet_tensorflow
from pixpro_tf.config import Config
from pixpro_tf.data.views.policies import POLICIES

# What ImageNet's files are like.
WIDTH, HEIGHT, QUALITY = 500, 375, 92
PARTS = ("one core", "all cores")
ON_ALL_CORES = "photometric on the device"
# Elements that a pipeline makes ahead are none of the time that is measured.
_WARM_UP = 5

Rates = dict[str, list[float]]


def write_images(folder: pathlib.Path, count: int) -> None:
    """Writes JPEGs of random parts of the photographs, the same ones every time."""
    import numpy as np
    import tensorflow as tf
    from PIL import Image

    from pixpro_tf.data.sources.folders import photographs

    records = photographs().epoch(0, tf.constant(0, tf.int64))
    paths = [record["name"] for record in records.as_numpy_iterator()]
    opened = [Image.open(os.fsdecode(path)) for path in paths]
    # Enlarged ones would be too smooth, and so too quickly decoded.
    large = [each for each in opened if each.width >= WIDTH and each.height >= HEIGHT]
    pictures = [each.convert("RGB") for each in large]
    rng = np.random.default_rng(0)
    for index in range(count):
        picture = pictures[index % len(pictures)]
        scale = rng.uniform(1, min(picture.width / WIDTH, picture.height / HEIGHT))
        width, height = scale * WIDTH, scale * HEIGHT
        left, top = rng.uniform(0, picture.width - width), rng.uniform(0, picture.height - height)
        part = picture.resize(
            (WIDTH, HEIGHT), Image.Resampling.LANCZOS, (left, top, left + width, top + height)
        )
        part.save(folder / f"{index:05}.jpg", quality=QUALITY)


def stages(flags: argparse.Namespace) -> dict[str, Callable[[], Iterator]]:
    """Of each stage, a function that begins it: an endless iterator, each step of which is the work on one batch."""
    import pixpro_tf  # noqa: F401 - chooses Keras 2, so it comes before TensorFlow

    # isort: split
    import tensorflow as tf

    from pixpro_tf.data import images, pipeline
    from pixpro_tf.data.parallelism import untuned
    from pixpro_tf.data.sources.folders import FolderSource
    from pixpro_tf.data.views import crops, photometric, randomness

    source = FolderSource(str(flags.folder))
    batch, size = flags.batch_size, flags.image_size
    augment = photometric.Photometric(flags.augmentation)

    def each_image(function):
        records = source.part(0, tf.constant(0, tf.int64), 1, 0).repeat()
        return untuned(records.map(function).batch(batch))

    def decoded(position, record):
        del position
        return images.decode(source.encoded(record))

    def two_views(position, record):
        image, key = decoded(position, record), randomness.image_key(0, 0, position)
        made = [crops.make_view(image, key, view, size, Config.min_crop_area) for view in (1, 2)]
        return [view for view, _ in made]

    def whole(**options):
        return pipeline.training_dataset(
            source,
            batch_size=batch,
            image_size=size,
            min_crop_area=Config.min_crop_area,
            seed=0,
            workers=1,
            **options,
        )

    def colours():
        views = next(iter(each_image(two_views)))
        key = randomness.image_key(0, 0, tf.range(batch))
        while True:
            for view, image in enumerate(views, 1):
                augment(image, key, view).numpy()
            yield

    if flags.part == "all cores":
        return {ON_ALL_CORES: colours}
    datasets = {
        "read": each_image(lambda _, record: source.encoded(record)),
        "read, decode": each_image(lambda *record: tf.shape(decoded(*record))),
        "read, decode, crop and resize": each_image(two_views),
        "pipeline, --augment_on=device": whole(),
        "pipeline, --augment_on=host": whole(photometric=augment),
    }
    begins = {name: functools.partial(iter, dataset) for name, dataset in datasets.items()}
    return begins | {"photometric": colours}


def measure(flags: argparse.Namespace) -> Rates:
    """Images per second of each stage, in each round, in this process."""
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


def main(arguments: list[str]) -> None:
    """Runs a command line, without the command's name."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=positive, default=220, help="files that are made")
    parser.add_argument("--batch_size", type=positive, default=32, help="at most the images")
    parser.add_argument("--image_size", type=positive, default=224, help="side of a view")
    parser.add_argument("--augmentation", default=Config.augmentation, choices=POLICIES)
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each stage in each round")
    parser.add_argument("--json", help="file to write the rates to")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=pathlib.Path, help=argparse.SUPPRESS)
    flags = parser.parse_args(arguments)
    if flags.batch_size > flags.images:
        sys.exit(f"--batch_size={flags.batch_size} is more than --images={flags.images}")
    quiet_tensorflow()
    cores = os.sched_getaffinity(0)
    if flags.part:
        if flags.part == "one core":
            # Before TensorFlow makes its threads, as many as there are cores.
            os.sched_setaffinity(0, {min(cores)})
        print(json.dumps(measure(flags)))
        return

    rates: Rates = {}
    with tempfile.TemporaryDirectory() as folder:
        write_images(pathlib.Path(folder), flags.images)
        for part in PARTS:
            command = [sys.executable, "-m", "benchmarks.data", *arguments]
            command += [f"--part={part}", f"--folder={folder}"]
            process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            rates |= json.loads(process.stdout)
        sizes = [file.stat().st_size for file in pathlib.Path(folder).iterdir()]
    print(f"{flags.images} JPEGs of {WIDTH} x {HEIGHT}, {statistics.mean(sizes) / 1e3:.0f} KB each")
    print(table(rates, len(cores)))
    if flags.json:
        with open(flags.json, "w") as file:
            json.dump({"flags": vars(flags), "images_per_second": rates}, file, indent=2)


if __name__ == "__main__":
    main(sys.argv[1:])
