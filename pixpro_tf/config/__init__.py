"""Configuration of a run as one frozen dataclass: each field is a flag with its type, default, unit and help text.

This package does not import TensorFlow, so that a mistake in a flag is reported immediately.
"""

import dataclasses
import os
from typing import Any

from pixpro_tf.config import combinations
from pixpro_tf.config.data import OF_FILES, DataFlags
from pixpro_tf.config.flag import AUTO, as_written, check_all_used, check_filled, check_values
from pixpro_tf.config.hardware import HardwareFlags
from pixpro_tf.config.limits import DownloadLimits, ImageLimits
from pixpro_tf.config.model import ModelFlags
from pixpro_tf.config.objectives import ObjectiveFlags
from pixpro_tf.config.optimisation import OptimisationFlags
from pixpro_tf.config.run import RunFlags

__all__ = ["OF_FILES", "Config", "as_written"]

# Values that a new run replaces by its own choice, which it keeps when it is resumed.
AUTOMATIC = {"precision": "auto", "epochs": AUTO, "warmup_epochs": AUTO}


# Dataclasses collect the fields of their last base first, so the bases are in the reverse order of --help. The bases are never instantiated
# on their own, so they omit the generated methods: generating those takes longer than importing the rest of this package.
@dataclasses.dataclass(frozen=True)
class Config(
    DownloadLimits,
    ImageLimits,
    RunFlags,
    HardwareFlags,
    OptimisationFlags,
    ObjectiveFlags,
    ModelFlags,
    DataFlags,
):
    """Configuration of one pre-training run: data, model, objectives, optimisation, hardware and run folder.

    The fields are the flags of `train.py`; `python train.py --help` is generated from them.

    Raises:
        ConfigError: if a value or a combination of values is invalid; the message is one line with the flag and what to do.

    Examples:
        >>> from pixpro_tf.config import Config
        >>> Config(dataset="folder:photos", batch_size=64).peak_rate
        0.25
    """

    def __post_init__(self) -> None:
        for name, automatic in AUTOMATIC.items():
            if getattr(self, name) == "auto":
                object.__setattr__(self, name, automatic)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(field.default, tuple):
                # JSON has lists.
                object.__setattr__(self, field.name, tuple(value))
            elif isinstance(value, os.PathLike):
                object.__setattr__(self, field.name, os.fspath(value))
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
        # Last, because other checks say more about some flags.
        check_filled(self)

    @property
    def fpn_levels(self) -> list[str]:
        """FPN levels that the pixel loss compares."""
        if not self.pixel_weight:
            return []
        return [level for level in self.pixel_level_names if level.startswith("p")]

    def map_size(self, level: str) -> int:
        """Returns the side of the square map of a level, in bins."""
        return -(-self.image_size // self.stride_of(level))

    @property
    def pictured_map_size(self) -> int:
        """Side of the coarsest map whose bins the losses compare, in bins."""
        return min(map(self.map_size, self.pixel_level_names if self.pixel_weight else ["c5"]))

    def check_surroundings(self) -> None:
        """Raises `ConfigError` unless this machine has what the flags refer to: the folder of images, the TF_CONFIG of a cluster.

        This is separate from the other checks because a run can be described and exported on a machine that does not have its images.
        """
        self.check_folder(self.run_dir)
        self.check_cluster()

    def to_dict(self) -> dict[str, Any]:
        """Returns all flags and their values, as JSON represents them."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self).items()
        }

    def changed_flags(self) -> list[str]:
        """Returns the flags that are fixed for the whole run and differ from their defaults, e.g. `--gamma=1.0`."""
        return [
            f"--{field.name}={as_written(field, getattr(self, field.name))}"
            for field in dataclasses.fields(self)
            if field.metadata["fixed"] and getattr(self, field.name) != field.default
        ]

    def differing_flags(self, other: dict[str, Any]) -> list[str]:
        """Returns the flags that are fixed for the whole run and differ from those of another run.

        Args:
            other: result of `to_dict` for the other run, possibly from another version of this package.

        Returns:
            One text per flag, e.g. `--gamma=2.0 (the run has 1.0)`.
        """
        own = self.to_dict()
        return [
            f"--{field.name}={as_written(field, own[field.name])} (the run has {as_written(field, other[field.name])})"
            for field in dataclasses.fields(self)
            if field.metadata["fixed"]
            and field.name in other
            and own[field.name] not in (other[field.name], AUTOMATIC.get(field.name))
        ]
