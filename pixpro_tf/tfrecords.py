"""Writes images into TFRecord files, which can be read from disks and buckets at full speed, unlike many small files.

python -m pixpro_tf.tfrecords --images=folder:/data/photos --output=/data/shards
python train.py --flagfile=configs/pixpro.flags --dataset='tfrecord:/data/shards/*'
"""

import dataclasses
import sys

from pixpro_tf.cli.commands import Command
from pixpro_tf.cli.settings import MAX_SEED, CheckedSettings, overwrite_flag
from pixpro_tf.config.data import on_bad_image_flag
from pixpro_tf.config.flag import flag, required
from pixpro_tf.config.limits import ImageLimits


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(ImageLimits, CheckedSettings):
    """Flags of the command: the images to write, and how."""

    images: str = required(
        "Data", "images to write: folder:PATH or zip:FILE, as in --dataset of train.py"
    )
    on_bad_image: str = on_bad_image_flag()
    seed: int = flag(0, "Data", "seed of the order of the images", minimum=0, maximum=MAX_SEED)
    images_per_shard: int = flag(
        1024,
        "Output",
        "number of images per file; files of about 100 MB are read fastest",
        unit="images",
        minimum=1,
    )
    output: str = required(
        "Output",
        "folder to create; an interrupted command leaves the complete shards in a folder beside it, and the same command continues from there",
        path=True,
        remote=True,
    )
    overwrite: bool = overwrite_flag()
    num_workers: int = flag(
        0,
        "Machines",
        "number of processes of this machine; 0 for one per core",
        unit="processes",
        minimum=0,
        used_by={"beam_runner": ("",)},
    )
    beam_runner: str = flag(
        "",
        "Machines",
        "Apache Beam runner that writes the shards on a cluster, e.g. DataflowRunner; empty to use this machine only. The files are the "
        "same. Images and output must be on storage that all workers reach under the same path",
    )
    beam_options: tuple[str, ...] = flag(
        ("",),
        "Machines",
        "options of the Beam pipeline, e.g. project=mine,region=europe-west4",
        used_by={"beam_runner": ()},
    )


def _run(settings: Settings) -> None:
    output = settings.output
    from pixpro_tf.cli.shard_runners import hide_gpus
    from pixpro_tf.cli.write_tfrecords import write

    hide_gpus()

    count = write(
        settings.images,
        output,
        per_shard=settings.images_per_shard,
        seed=settings.seed,
        skip_bad=settings.on_bad_image == "skip",
        overwrite=settings.overwrite,
        num_workers=settings.num_workers,
        beam_runner=settings.beam_runner,
        beam_options=[option for option in settings.beam_options if option],
    )
    print(f"Wrote {count} images to {output}; use them as --dataset='tfrecord:{output}/*'")


main = Command(Settings, __doc__, "python -m pixpro_tf.tfrecords", _run, "pixpro-tfrecords")

if __name__ == "__main__":
    sys.exit(main())
