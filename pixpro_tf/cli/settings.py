"""Flags that several commands have."""

import dataclasses
from typing import Any

from pixpro_tf.config import OF_FILES
from pixpro_tf.config.flag import check_all_used, check_used, check_values, flag, required

# NumPy and TensorFlow take no larger one.
MAX_SEED = 2**32 - 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckedSettings:
    """Settings whose values are checked one by one, and that they are used; raises `ConfigError` for one that is not allowed."""

    def __post_init__(self) -> None:
        check_values(self)
        check_all_used(self)


def from_flag(also: str = "") -> Any:
    """The flag `--from` of a trained backbone.

    Args:
        also: what else than a trained one it takes, for the help.
    """
    return required(
        "Backbone",
        "folder of a run or of imported weights, or TF Hub-style handle of a SavedModel that export.savedmodel wrote: folder, .tar.gz, "
        f"gs:// or https://{also}; a SavedModel is a program: load only those you trust",
        name="from",
        alias="run",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class BackboneSettings(CheckedSettings):
    """A trained backbone, by `--from`."""

    source: str = from_flag()
    network: str = flag(
        "",
        "Backbone",
        "which of a run's two networks; empty is online",
        choices=("", "online", "target"),
    )


def check_split(settings: CheckedSettings, dataset: str) -> None:
    """Raises `ConfigError` for a --split where the images of the flag `dataset` have none."""
    name = getattr(settings, dataset)
    has_splits = name != "photographs" and not name.startswith(OF_FILES)
    check_used(settings, has_splits, ["split"], f"--{dataset}={name}")
