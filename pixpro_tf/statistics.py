"""Measures the range and the statistics of the channels of images, and writes a flagfile for train.py.

python -m pixpro_tf.statistics --images=folder:/data/tiles --output=tiles.flags
python train.py --flagfile=configs/own_images.flags --flagfile=tiles.flags --dataset=folder:/data/tiles
"""

import dataclasses
import sys

from pixpro_tf.cli.commands import Command
from pixpro_tf.cli.outputs import atomic_output
from pixpro_tf.cli.settings import MAX_SEED, CheckedSettings, overwrite_flag
from pixpro_tf.config.data import on_bad_image_flag
from pixpro_tf.config.flag import flag, required
from pixpro_tf.config.limits import ImageLimits
from pixpro_tf.errors import printable


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(ImageLimits, CheckedSettings):
    """Flags of the command: the images to measure, and how."""

    images: str = required(
        "Data", "images to measure: folder:PATH or zip:FILE, as in --dataset of train.py"
    )
    max_images: int = flag(
        2000,
        "Data",
        "number of images that are read at most, a random sample",
        unit="images",
        minimum=1,
    )
    channels: int = flag(
        0,
        "Data",
        "number of channels; 0 for that of most images. Needed for .npy files that have more channels than rows or columns and are not square",
        minimum=0,
    )
    on_bad_image: str = on_bad_image_flag()
    outliers: float = flag(
        0.5,
        "Data",
        "share of the values of a channel that its range leaves out at either end; images with 8 bits keep the range from 0 to 255",
        unit="per cent",
        minimum=0,
        maximum=49,
    )
    seed: int = flag(
        0, "Data", "seed of the sample of images and pixels", minimum=0, maximum=MAX_SEED
    )
    output: str = required("Output", "flagfile to create", path=True)
    overwrite: bool = overwrite_flag()


def _run(settings: Settings) -> None:
    from pixpro_tf.data.channel_statistics import measure

    channels, number = measure(
        settings.images,
        max_images=settings.max_images,
        outliers=settings.outliers,
        skip_bad=settings.on_bad_image == "skip",
        channels=settings.channels,
        seed=settings.seed,
    )
    lines = [
        f"# Channels of {printable(settings.images)}, measured on {number} images by python -m pixpro_tf.statistics.",
        f"--channels={channels.count}",
    ]
    for name, numbers in dataclasses.asdict(channels).items():
        lines.append(f"--channel_{name}={','.join(f'{number:g}' for number in numbers)}")
    text = "\n".join(lines)
    with atomic_output(settings.output, settings.overwrite) as path, open(path, "w") as file:
        print(text, file=file)
    print(text)
    print(f"Wrote {settings.output}; add --flagfile={settings.output} to the training command")


main = Command(Settings, __doc__, "python -m pixpro_tf.statistics", _run)

if __name__ == "__main__":
    sys.exit(main())
