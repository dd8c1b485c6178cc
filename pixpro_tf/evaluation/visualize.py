"""Pictures of what a backbone has learnt: what a point is mixed with, where its like are, and what its features tell apart.

python -m pixpro_tf.visualize --from=runs/mine --images=photographs --output=pictures/mine
python -m pixpro_tf.visualize --from=exported/mine --images=cat.jpg,dog.jpg --points=0.5,0.5 --output=pictures/pets
"""

import dataclasses
import os
import sys

from pixpro_tf.cli.commands import Command
from pixpro_tf.cli.outputs import atomic_output, refuse_existing
from pixpro_tf.cli.settings import MAX_SEED, check_split
from pixpro_tf.config.flag import flag, required
from pixpro_tf.errors import ConfigError
from pixpro_tf.evaluation.settings import EvaluatedBackbone

# Points of the image where things often are, off its centre and off its border.
_POINTS = "0.5,0.5;0.25,0.7;0.8,0.3"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(EvaluatedBackbone):
    """Which pictures are made; raises `ConfigError` for values that cannot be."""

    images: str = required(
        "Data",
        "files, with commas, or a dataset as of train.py: folder:PATH, scenes/128, photographs",
    )
    output: str = required("Output", "folder to make for the pictures")
    name: str = flag("", "Output", "what the pictures call the backbone; empty is --from")
    data_dir: str = flag(
        "",
        "Data",
        "where TFDS keeps prepared datasets; empty for its default, ~/tensorflow_datasets",
    )
    split: str = flag("", "Data", "of a TFDS dataset; empty for all its training images")
    level: str = flag("c5", "Backbone", "the map that is shown", choices=("c2", "c3", "c4", "c5"))
    output_stride: int = flag(
        0,
        "Backbone",
        "of the backbone, dilated if need be; 0 as it was trained",
        choices=(0, 8, 16, 32),
    )
    count: int = flag(4, "Data", "images of a dataset that are shown", minimum=2)
    image_size: int = flag(
        224,
        "Data",
        "side of the square that is cut from the middle of each image",
        unit="pixels",
        minimum=8,
    )
    points: str = flag(
        _POINTS, "Pictures", "x,y of each point that is followed", unit="shares of the image"
    )
    seed: int = flag(
        0, "Pictures", "of the views and of random weights", minimum=0, maximum=MAX_SEED
    )
    overwrite: bool = flag(False, "Output", "replace an output")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_split(self, "images")
        if not self.points_xy:
            raise ConfigError(f"--points={self.points} has no point; write x,y;x,y as {_POINTS}")

    @property
    def points_xy(self) -> list[tuple[float, float]]:
        """The points, `(x, y)` in [0, 1)."""
        found = []
        for text in filter(None, self.points.split(";")):
            try:
                x, y = map(float, text.split(","))
            except ValueError:
                x = y = -1.0
            if not (0 <= x < 1 and 0 <= y < 1):
                raise ConfigError(
                    f"--points={self.points}: {text} is no point; write x,y with both from 0 up to, but not, 1"
                )
            found.append((x, y))
        return found


def _run(settings: Settings) -> None:
    refuse_existing("output", settings.output, settings.overwrite)
    from pixpro_tf.evaluation.features.figures import write

    with atomic_output(settings.output, settings.overwrite) as folder:
        os.makedirs(folder)
        write(folder, settings)
        names = ", ".join(sorted(os.listdir(folder)))
    print(f"Written to {settings.output}: {names}")


main = Command(Settings, __doc__, "python -m pixpro_tf.visualize", _run, "pixpro-visualize")


if __name__ == "__main__":
    sys.exit(main())
