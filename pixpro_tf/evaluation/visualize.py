"""Plots a PCA of a backbone's features, propagation weights and nearest neighbours of chosen points, and dense matches.

python -m pixpro_tf.visualize --from=runs/mine --images=photographs --output=pictures/mine
python -m pixpro_tf.visualize --from=exported/mine --images=cat.jpg,dog.jpg --points=0.5,0.5 --output=pictures/pets
"""

import dataclasses
import os
import sys

from pixpro_tf.cli.commands import Command
from pixpro_tf.cli.outputs import atomic_output
from pixpro_tf.cli.settings import MAX_SEED, check_split, data_dir_flag, overwrite_flag
from pixpro_tf.config.data import on_bad_image_flag
from pixpro_tf.config.flag import flag, required
from pixpro_tf.errors import ConfigError
from pixpro_tf.evaluation.settings import EvaluatedBackbone

# Positions where objects often are: the centre of the image, and two points between its centre and its border.
_POINTS = "0.5,0.5;0.25,0.7;0.8,0.3"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(EvaluatedBackbone):
    """Settings of the figures; raises `ConfigError` if a value is invalid."""

    images: str = required(
        "Data",
        "image files, comma-separated, or a dataset, as for train.py: folder:PATH, scenes/128, photographs, or a TFDS name",
    )
    output: str = required("Output", "folder to create for the figures", path=True)
    name: str = flag(
        "", "Output", "name of the backbone in the titles of the figures; empty uses --from"
    )
    data_dir: str = data_dir_flag()
    split: str = flag("", "Data", "split of a TFDS dataset; empty for all its training images")
    on_bad_image: str = on_bad_image_flag()
    level: str = flag(
        "c5",
        "Backbone",
        "feature map to visualise; propagation.png shows the pre-trained projections instead, if the source contains them",
        choices=("c2", "c3", "c4", "c5"),
    )
    output_stride: int = flag(
        0,
        "Backbone",
        "output stride of the backbone, reached by dilation if necessary, for all but pre-trained projections; 0 keeps the one it was "
        "trained with",
        choices=(0, 8, 16, 32),
    )
    count: int = flag(
        4, "Data", "number of images to show from a dataset; image files are all shown", minimum=2
    )
    image_size: int = flag(
        224,
        "Data",
        "side to which the central square of each image is resized",
        unit="pixels",
        minimum=8,
    )
    points: str = flag(
        _POINTS, "Figures", "points to visualise, as x,y;x,y", unit="fractions of width and height"
    )
    seed: int = flag(
        0, "Figures", "random seed of the views and of random weights", minimum=0, maximum=MAX_SEED
    )
    overwrite: bool = overwrite_flag()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_split(self, "images")
        if not self.points_xy:
            raise ConfigError(
                f"--points={self.points} does not contain a point; write x,y;x,y, such as {_POINTS}"
            )

    @property
    def points_xy(self) -> list[tuple[float, float]]:
        """Points `(x, y)` with both coordinates in [0, 1)."""
        found = []
        for text in filter(None, self.points.split(";")):
            try:
                x, y = map(float, text.split(","))
            except ValueError:
                x = y = -1.0
            if not (0 <= x < 1 and 0 <= y < 1):
                raise ConfigError(
                    f"--points={self.points} is invalid: {text} is not a point; write x,y, both at least 0 and less than 1"
                )
            found.append((x, y))
        return found


def _run(settings: Settings) -> None:
    from pixpro_tf.evaluation.features.figures import write

    with atomic_output(settings.output, settings.overwrite) as folder:
        os.makedirs(folder)
        write(folder, settings)
        names = ", ".join(sorted(os.listdir(folder)))
    print(f"Written to {settings.output}: {names}")


main = Command(Settings, __doc__, "python -m pixpro_tf.visualize", _run, "pixpro-visualize")


if __name__ == "__main__":
    sys.exit(main())
