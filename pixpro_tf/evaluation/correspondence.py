"""Without labels: does a network find the same place again in another view of the image, cropped, coloured and blurred otherwise?

python -m pixpro_tf.evaluation.correspondence --from=runs/mine --dataset=scenes/128 --split=validation --data_dir=data
python -m pixpro_tf.evaluation.correspondence --from=exported/mine --dataset=photographs
"""

import dataclasses
import sys

from pixpro_tf.data.views.policies import POLICIES
from pixpro_tf.errors import ConfigError
from pixpro_tf.evaluation import flags
from pixpro_tf.evaluation.flags import check_split, command, flag


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(flags.MapSettings):
    """Which views of which images are compared; raises `ConfigError` for values that cannot be."""

    dataset: str = flag("as of train.py: folder:PATH, scenes/128, photographs, or a TFDS name")
    split: str = flag("of a TFDS dataset; empty for all its training images", "")
    image_size: int = flag("side of the views in pixels", 224, minimum=1)
    min_crop_area: float = flag("smallest share of the image that a view shows", 0.2, minimum=0.01)
    augmentation: str = flag("photometric policy", "byol", choices=tuple(POLICIES))
    pairs: int = flag("of views that are compared", 256, minimum=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_split(self, "dataset")
        if self.min_crop_area > 1:
            raise ConfigError(
                f"--min_crop_area={self.min_crop_area:g} is a share; it must be at most 1"
            )


main = command(
    Settings,
    "pixpro_tf.evaluation.correspondence",
    __doc__ or "",
    library="pixpro_tf.evaluation.dense_matching.evaluation",
)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
