"""Flags that several commands share."""

import dataclasses
from typing import Any

from pixpro_tf.config.data import has_splits
from pixpro_tf.config.flag import (
    check_all_used,
    check_filled,
    check_used,
    check_values,
    flag,
    required,
)
from pixpro_tf.config.limits import DownloadLimits, ImageLimits
from pixpro_tf.data.labelled.user_files import OF_OWN_FILES

# NumPy and TensorFlow do not accept larger seeds.
MAX_SEED = 2**32 - 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckedSettings:
    """Settings that raise `ConfigError` if the value of a flag is not allowed, or the flag is set but unused."""

    def __post_init__(self) -> None:
        check_values(self)
        check_filled(self)
        check_all_used(self)


def from_flag(also: str = "", repeated: bool = False) -> Any:
    """Returns the flag `--from` of a trained backbone.

    Args:
        also: text for the help about what else the flag accepts.
        repeated: whether the flag is given once for each of several backbones.
    """
    return required(
        "Backbone",
        "folder of a run or of imported weights, TF Hub-style handle (folder, .tar.gz, gs:// or https://) of a SavedModel that "
        "export.savedmodel wrote, or published weights (keras:ResNet50, keras_hub:PRESET, or a .h5, .keras or .safetensors file)"
        f"{also}; of a SavedModel, the weights are read and its program is not run",
        name="from",
        alias="" if repeated else "run",
        repeated=repeated,
        path=True,
    )


def run_flag() -> Any:
    """Returns the flag `--from` of a command that accepts runs only."""
    return required(
        "Backbone", "folder of a run or of imported weights", name="from", alias="run", path=True
    )


def allow_unfinished_flag() -> bool:
    """Returns the flag `--allow_unfinished` of the exports."""
    return flag(False, "Backbone", "whether to accept a run that has not completed all its steps")


def overwrite_flag() -> bool:
    """Returns the flag `--overwrite`."""
    return flag(False, "Output", "whether to replace an existing output")


def data_dir_flag() -> str:
    """Returns the flag `--data_dir`."""
    return flag(
        "",
        "Data",
        "folder of prepared TFDS datasets; empty for the default, ~/tensorflow_datasets",
        path=True,
    )


def classes_flag() -> str:
    """Returns the flag `--classes` of a command whose only classes are those of `--labels`."""
    return flag(
        "",
        "Data",
        "names of the classes of --labels in their order, e.g. cat,dog, others are left out; empty for all",
        used_by={"labels": ()},
    )


def names_in(text: str) -> tuple[str, ...]:
    """Returns the names that a flag such as `--classes` lists, separated by commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


@dataclasses.dataclass(frozen=True, kw_only=True)
class BackboneSettings(DownloadLimits, CheckedSettings):
    """Flags of a trained backbone: `--from` and `--network`, and the limits of its download."""

    source: str = from_flag()
    network: str = flag(
        "",
        "Backbone",
        "network to use; target is the moving average of online; empty for online, or for the one that a SavedModel contains",
        choices=("", "online", "target"),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelSettings(ImageLimits, CheckedSettings):
    """Flags of the commands with a flag `--labels`: which images the labels are of, and what to evaluate on."""

    images: str = flag(
        "",
        "Data",
        "folder of the images of --labels; empty for the usual places beside the labels",
        used_by={"labels": ()},
    )
    evaluation_labels: str = flag(
        "",
        "Data",
        "boxes to evaluate on, in the formats of --labels; empty keeps a tenth of the images of --labels for it",
        used_by={"labels": ()},
    )
    evaluation_images: str = flag(
        "",
        "Data",
        "folder of the images of --evaluation_labels; empty for that of --images",
        used_by={"evaluation_labels": ()},
    )
    box_orientation: str = flag(
        "",
        "Data",
        "whether the boxes of --labels are those of a photograph as it is shown or as it is stored, if an EXIF tag rotates it and the width and "
        "height in the labels do not tell; empty leaves such photographs out",
        choices=("", "shown", "stored"),
        used_by={"labels": ()},
    )


def check_split(settings: CheckedSettings, dataset: str) -> None:
    """Raises `ConfigError` if --split is set although the images of the flag `dataset` do not have splits."""
    name = getattr(settings, dataset)
    check_used(settings, has_splits(name), ["split"], f"--{dataset}={name}")


def check_files(settings: CheckedSettings, dataset: str) -> None:
    """Raises `ConfigError` if --on_bad_image is set although the flag `dataset` does not name files of the user's own."""
    name = getattr(settings, dataset)
    check_used(settings, name.startswith(OF_OWN_FILES), ["on_bad_image"], f"--{dataset}={name}")
