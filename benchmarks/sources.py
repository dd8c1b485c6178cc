"""Measures the input pipeline with each source of images: pairs of views per second on all cores, with deterministic operations.

    python -m benchmarks.sources

The same JPEGs as in benchmarks.data come from a folder, from archives, from TFRecord files and from caches; the sources take turns. A run
waits for images if its source is much slower than the folder.
"""

import dataclasses
import json
import os
import pathlib
import statistics
import sys
import tempfile
import zipfile

from benchmarks import measuring
from pixpro_tf.cli.commands import Command
from pixpro_tf.cli.settings import CheckedSettings
from pixpro_tf.config import Config
from pixpro_tf.config.flag import flag

Rates = dict[str, list[float]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(CheckedSettings):
    """Images to create, and for how long to read them."""

    images: int = flag(440, "Data", "number of JPEGs to create", minimum=1)
    batch_size: int = flag(32, "Data", "batch size", unit="images", minimum=1)
    image_size: int = flag(224, "Data", "side of a view", unit="pixels", minimum=1)
    rounds: int = flag(5, "Time", "number of rounds; each source is read once per round", minimum=1)
    seconds: float = flag(3.0, "Time", "seconds per source and round", minimum=1e-3)
    json: str = flag("", "Output", "JSON file for the rates; empty to write none")


def measure(settings: Settings, folder: pathlib.Path) -> Rates:
    """Returns the pairs of views per second of each source in each round."""
    import pixpro_tf  # noqa: F401 - chooses Keras 2, so it comes before TensorFlow

    # isort: split
    from benchmarks.data import batches_per_second
    from benchmarks.data_stages import write_images
    from pixpro_tf.cli.write_tfrecords import write
    from pixpro_tf.data import pipeline
    from pixpro_tf.data.sources import cache, open_source
    from pixpro_tf.training.strategy import set_numerics

    set_numerics(Config())
    photos = folder / "photos"
    photos.mkdir()
    write_images(photos, settings.images)
    for name, method in (("stored", zipfile.ZIP_STORED), ("deflated", zipfile.ZIP_DEFLATED)):
        with zipfile.ZipFile(folder / f"{name}.zip", "w", method) as archive:
            for path in sorted(photos.iterdir()):
                archive.write(path, path.name)
    shards = folder / "shards"
    write(f"folder:{photos}", str(shards), per_shard=settings.images // 4 + 1, num_workers=1)

    def opened(dataset):
        return open_source(dataset, data_dir="", split="", shuffle_buffer=Config.shuffle_buffer)

    def kept(where):
        dataset = f"folder:{photos}"
        return cache.keep(opened(dataset), dataset, where, str(folder / "cache"), lambda line: None)

    sources = {
        "folder:": opened(f"folder:{photos}"),
        "zip:, stored": opened(f"zip:{folder / 'stored.zip'}"),
        "zip:, deflated": opened(f"zip:{folder / 'deflated.zip'}"),
        "tfrecord:": opened(f"tfrecord:{shards}/*"),
        "folder:, --cache=ram": kept("ram"),
        "folder:, --cache=disk": kept("disk"),
    }
    iterators = {
        name: iter(
            pipeline.training_dataset(
                source,
                batch_size=settings.batch_size,
                image_size=settings.image_size,
                min_crop_area=Config.min_crop_area,
                seed=0,
            )
        )
        for name, source in sources.items()
    }
    rates: Rates = {name: [] for name in iterators}
    for _ in range(settings.rounds):
        for name, batches in iterators.items():
            rate = batches_per_second(batches, settings.seconds)
            rates[name].append(settings.batch_size * rate)
    return rates


def table(rates: Rates) -> str:
    """Formats a row for each source; ratios are those of each round, relative to the first source."""
    first = next(iter(rates.values()))
    lines = [f"{'source':<24}{'pairs/s':>10}{'range':>14}{'ratio':>8}"]
    for name, each in rates.items():
        ratio = statistics.median(own / other for own, other in zip(each, first, strict=True))
        middle, spread = statistics.median(each), measuring.spread(each, ".0f")
        lines.append(f"{name:<24}{middle:>10.1f}{spread:>14}{ratio:>8.2f}")
    return "\n".join(lines)


def _run(settings: Settings) -> None:
    with tempfile.TemporaryDirectory() as folder:
        rates = measure(settings, pathlib.Path(folder))
    print(f"{settings.images} JPEGs, --augment_on=device, {len(os.sched_getaffinity(0))} cores")
    print(table(rates))
    if settings.json:
        with open(settings.json, "w") as file:
            json.dump({"flags": vars(settings), "pairs_per_second": rates}, file, indent=2)


main = Command(Settings, __doc__, "python -m benchmarks.sources", _run)

if __name__ == "__main__":
    sys.exit(main())
