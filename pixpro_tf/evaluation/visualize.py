"""Pictures of what a backbone has learnt: what a point is mixed with, where its like are, and what its features tell apart.

python -m pixpro_tf.visualize --from=runs/mine --images=photographs --output=pictures/mine
python -m pixpro_tf.visualize --from=exported/mine --images=cat.jpg,dog.jpg --points=0.5,0.5 --output=pictures/pets
"""

import dataclasses
import os
import sys

from pixpro_tf.cli.commands import atomic_output, exit_code_of, quiet_tensorflow, refuse_existing
from pixpro_tf.errors import ConfigError
from pixpro_tf.evaluation import flags
from pixpro_tf.evaluation.flags import flag

# Points of the image where things often are, off its centre and off its border.
_POINTS = "0.5,0.5;0.25,0.7;0.8,0.3"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(flags.BackboneSettings):
    """Which pictures are made; raises `ConfigError` for values that cannot be."""

    images: str = flag(
        "files, with commas, or a dataset as of train.py: folder:PATH, scenes/128, photographs"
    )
    output: str = flag("folder to make for the pictures")
    name: str = flag("what the pictures call the backbone; empty is --from", "")
    data_dir: str = flag("of TFDS", "")
    split: str = flag("of a TFDS dataset; empty for all its training images", "")
    level: str = flag("the map that is shown", "c5", choices=("c2", "c3", "c4", "c5"))
    output_stride: int = flag(
        "of the backbone, dilated if need be; 0 as it was trained", 0, choices=(0, 8, 16, 32)
    )
    count: int = flag("images of a dataset that are shown, at least 2", 4, minimum=2)
    image_size: int = flag(
        "side of the square that is cut from the middle of each image", 224, minimum=8
    )
    points: str = flag("x,y of each point that is followed, as shares of the image", _POINTS)
    seed: int = flag("of the views and of random weights", 0, minimum=0, maximum=flags.MAX_SEED)
    overwrite: bool = flag("replace an output", False)

    def __post_init__(self) -> None:
        super().__post_init__()
        flags.check_split(self, "images")
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


def _run(arguments: list[str]) -> None:
    settings = flags.parse(Settings, "pixpro_tf.visualize", __doc__ or "", arguments)
    refuse_existing("output", settings.output, settings.overwrite)
    quiet_tensorflow()
    from pixpro_tf.evaluation.features.figures import write

    with atomic_output(settings.output, settings.overwrite) as folder:
        os.makedirs(folder)
        write(folder, settings)
        names = ", ".join(sorted(os.listdir(folder)))
    print(f"Written to {settings.output}: {names}")


def main(arguments: list[str] | None = None) -> int:
    """Runs a command line, without the command's name; returns the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    return exit_code_of(lambda: _run(given))


if __name__ == "__main__":
    sys.exit(main())
