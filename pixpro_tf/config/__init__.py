"""What a run is, in one frozen dataclass: each field is one flag, with its type, default, unit and help.

Nothing here imports TensorFlow, so that a mistake in a flag is reported at once.
"""

import dataclasses
from typing import Any

from pixpro_tf.config import combinations
from pixpro_tf.config.data import OF_FILES, DataFlags
from pixpro_tf.config.flag import check_all_used, check_values
from pixpro_tf.config.hardware import HardwareFlags
from pixpro_tf.config.model import ModelFlags
from pixpro_tf.config.objectives import ObjectiveFlags
from pixpro_tf.config.optimisation import OptimisationFlags
from pixpro_tf.config.run import RunFlags

__all__ = ["OF_FILES", "Config"]


# Dataclasses collect the fields of their last base first, so this is the reverse of the order in --help. The parts are never made by
# themselves, and do without what they would need for that: generating it takes longer than the rest of this package.
@dataclasses.dataclass(frozen=True)
class Config(RunFlags, HardwareFlags, OptimisationFlags, ObjectiveFlags, ModelFlags, DataFlags):
    """One pre-training run: its data, model, objectives, optimisation, hardware and folder.

    The fields are the flags of `python train.py --help`, which is made from them.

    Raises:
        ConfigError: for a value or a combination that cannot be, in one line with the flag and what to do.

    Example:
        >>> from pixpro_tf.config import Config
        >>> Config(dataset="folder:photos", batch_size=64).peak_rate
        0.25
    """

    def __post_init__(self) -> None:
        check_values(self)
        self.check_data()
        self.check_model()
        self.check_objectives()
        self.check_optimisation()
        self.check_hardware()
        self.check_run()
        check_all_used(self)
        combinations.check_levels(self)
        combinations.check_hosts(self)

    @property
    def fpn_levels(self) -> list[str]:
        """Maps of an FPN that the pixel loss compares."""
        if not self.pixel_weight:
            return []
        return [level for level in self.pixel_level_names if level.startswith("p")]

    def map_size(self, level: str) -> int:
        """Side of the square map of a level, in bins."""
        return -(-self.image_size // self.stride_of(level))

    @property
    def pictured_map_size(self) -> int:
        """Side of the coarsest map whose bins the losses compare."""
        return min(map(self.map_size, self.pixel_level_names if self.pixel_weight else ["c5"]))

    def check_surroundings(self) -> None:
        """Raises `ConfigError` unless this machine has what the flags name: the images' folder, the cluster's TF_CONFIG.

        Apart from the other checks, because a run can be described and exported where its images are not.
        """
        self.check_folder()
        self.check_cluster()

    def to_dict(self) -> dict[str, Any]:
        """All flags and their values."""
        return dataclasses.asdict(self)

    def changed_flags(self) -> list[str]:
        """Flags that a run keeps for life and that are not at their defaults, `--gamma=1.0`."""
        return [
            f"--{field.name}={getattr(self, field.name)}"
            for field in dataclasses.fields(self)
            if field.metadata["fixed"] and getattr(self, field.name) != field.default
        ]

    def differing_flags(self, other: dict[str, Any]) -> list[str]:
        """Flags that a run keeps for life and that differ from another run's.

        Args:
            other: what `to_dict` gave for it, perhaps in another version.

        Returns:
            A text for each, `--gamma=2.0 (there: 1.0)`.
        """
        return [
            f"--{field.name}={getattr(self, field.name)} (there: {other[field.name]})"
            for field in dataclasses.fields(self)
            if field.metadata["fixed"]
            and field.name in other
            and getattr(self, field.name) != other[field.name]
        ]
