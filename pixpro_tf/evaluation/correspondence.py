"""Evaluates dense matching without labels, between two views of an image, cropped, jittered and blurred differently.

python -m pixpro_tf.evaluation.correspondence --from=runs/mine --dataset=scenes/128 --split=validation --data_dir=data
python -m pixpro_tf.evaluation.correspondence --from=exported/mine --dataset=photographs
"""

import dataclasses
import sys

from pixpro_tf.cli.settings import check_split
from pixpro_tf.config.data import on_bad_image_flag
from pixpro_tf.config.flag import flag, required
from pixpro_tf.data.views.policies import POLICIES
from pixpro_tf.evaluation.settings import MapSettings, command


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(MapSettings):
    """Settings of the dense matching evaluation; raises `ConfigError` if a value is invalid."""

    dataset: str = required(
        "Data", "dataset, as for train.py: folder:PATH, scenes/128, photographs, or a TFDS name"
    )
    split: str = flag("", "Data", "split of a TFDS dataset; empty for all its training images")
    on_bad_image: str = on_bad_image_flag()
    image_size: int = flag(224, "Data", "side of the square views", unit="pixels", minimum=1)
    min_crop_area: float = flag(
        0.2,
        "Data",
        "smallest area of a crop",
        unit="fraction of the image",
        minimum=0.01,
        maximum=1,
    )
    augmentation: str = flag(
        "byol", "Data", "photometric augmentation policy", choices=tuple(POLICIES)
    )
    pairs: int = flag(256, "Evaluation", "number of pairs of views to compare", minimum=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_split(self, "dataset")


main = command(
    Settings,
    "correspondence",
    __doc__,
    library="pixpro_tf.evaluation.dense_matching.evaluation",
)


if __name__ == "__main__":
    sys.exit(main())
