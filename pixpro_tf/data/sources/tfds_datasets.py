"""Prepared TFDS datasets: their builders and splits, and how to prepare those that are missing."""

import difflib
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import tensorflow as tf
from google.protobuf import json_format

from pixpro_tf.errors import ConfigError, RunError, first_line

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

Item = TypeVar("Item")
# Datasets that this project makes itself. Their images have classes for all pixels, and boxes.
OF_THIS_PROJECT = ("scenes", "composites")


def prepared_builder(name: str, data_dir: str) -> "tfds.core.DatasetBuilder":
    """Returns the builder of a TFDS dataset that is prepared on this machine; `scenes` and `composites` are built if they are missing.

    Args:
        name: name of the dataset and its configuration, e.g. `voc/2007`.
        data_dir: data directory of TFDS; empty for the default.

    Raises:
        ConfigError: if the dataset or the configuration does not exist.
        RunError: if the dataset has not been prepared; the message says what to do.
    """
    tfds = _tfds()

    folder = os.path.expanduser(data_dir) or None
    base, _, configuration = name.partition("/")
    if base in OF_THIS_PROJECT:
        return _built(name, folder)
    catalogue = "https://www.tensorflow.org/datasets/catalog"
    try:
        tfds.core.naming.parse_builder_name_kwargs(name)
    except ValueError:
        raise ConfigError(
            f"{name} is not a valid dataset name; use one from {catalogue}, folder:PATH or scenes/128",
            of="dataset",
        ) from None
    try:
        builder = tfds.builder(name, data_dir=folder)
    except json_format.ParseError as error:
        raise RunError(
            f"{name} in {folder} is damaged: {first_line(error)}; delete its folder and prepare it again",
            of="dataset",
        ) from error
    except tfds.core.DatasetNotFoundError:
        close = difflib.get_close_matches(base, [*tfds.list_builders(), *OF_THIS_PROJECT], n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise ConfigError(
            f"{name} is not a TFDS dataset; {hint}"
            f"use a name from {catalogue}, folder:PATH or scenes/128",
            of="dataset",
        ) from None
    except AssertionError as error:
        # TFDS raises this error for an unknown version; its message ends with the versions that exist.
        reason = str(error).rpartition(": Dataset ")[2]
        raise ConfigError(f"{name} was not found: {reason}", of="dataset") from None
    except ValueError:
        known = sorted(tfds.builder_cls(base).builder_configs)
        raise ConfigError(
            f"{name} was not found: {base} has no configuration {configuration!r}; its configurations are {', '.join(known) or 'none'}",
            of="dataset",
        ) from None
    if not builder.info.splits:
        raise RunError(_how_to_prepare(name, builder), of="dataset")
    file_format = builder.info.file_format.value
    if file_format != "tfrecord":
        raise RunError(
            f"{name} was prepared as {file_format}, not as tfrecord; move {builder.data_dir} away and prepare it again: "
            f"`{_preparation(name, _root(builder))}`",
            of="dataset",
        )
    return builder


def read_split(
    dataset: str, builder: "tfds.core.DatasetBuilder", split: str, encoded: str = ""
) -> tf.data.Dataset:
    """Reads the examples of a split, always in the same order.

    Args:
        dataset: name of the dataset as the user passed it, for the message.
        builder: builder of a prepared TFDS dataset.
        split: name of a split, or a part of one such as `train[:10%]`.
        encoded: name of an image feature that is not decoded; empty for none.

    Raises:
        ConfigError: if the split does not exist.
    """
    tfds = _tfds()

    decoders = {encoded: tfds.decode.SkipDecoding()} if encoded else None
    try:
        return builder.as_dataset(split=split, decoders=decoders)
    except (KeyError, ValueError, AssertionError, NotImplementedError):
        raise _unknown_split(dataset, split, builder.info.splits) from None


def part_of(dataset: str, splits: Mapping[str, list[Item]], split: str) -> list[Item]:
    """Returns the examples of a split, or of a part of one, of a dataset that is not one of TFDS.

    Args:
        dataset: name of the dataset as the user passed it, for the message.
        splits: examples by the name of their split.
        split: see `read_split`.

    Raises:
        ConfigError: if the split does not exist, or its part is empty.
    """
    tfds = _tfds()

    infos = {
        name: tfds.core.SplitInfo(
            name=name, shard_lengths=[len(items)], num_bytes=0, filename_template=None
        )
        for name, items in splits.items()
    }
    try:
        parts = tfds.core.ReadInstruction.from_spec(split).to_absolute(infos)
    except (KeyError, ValueError, AssertionError, NotImplementedError):
        raise _unknown_split(dataset, split, splits) from None
    found = [item for part in parts for item in splits[part.splitname][part.from_ : part.to]]
    if not found:
        raise ConfigError(f"{split!r} of {dataset} contains no images; use a larger part")
    return found


def _unknown_split(dataset: str, split: str, splits: Iterable[str]) -> ConfigError:
    return ConfigError(
        f"{split!r} is not a split of {dataset}; use one of {', '.join(splits)}, or a part such as train[:10%]"
    )


def image_shards(name: str, data_dir: str, split: str) -> tuple[list[tuple[str, int, int]], str]:
    """Locates the images of a prepared dataset.

    Args:
        name: name of the dataset and its configuration, e.g. `voc/2007`.
        data_dir: data directory of TFDS; empty for the default.
        split: split of the dataset; empty for all training images.

    Returns:
        `(file, skip, take)` for each shard, and the name of the image feature.

    Raises:
        ConfigError: if the dataset, the configuration or the split does not exist.
        RunError: if the dataset has not been prepared; the message says what to do.
    """
    builder = prepared_builder(name, data_dir)
    chosen = split or _training_split(builder)
    return _instructions(name, builder, chosen), _image_feature(name, builder)


def _built(name: str, folder: str | None) -> "tfds.core.DatasetBuilder":
    """Returns the builder of a dataset of this project, which is built if it is missing."""
    from pixpro_tf.data import built

    base, _, configuration = name.partition("/")
    if base == "scenes":
        from pixpro_tf.data.scenes.builder import Scenes as Builder
    else:
        from pixpro_tf.data.composites.builder import Composites as Builder
    known = [config.name for config in Builder.BUILDER_CONFIGS]
    if configuration and configuration not in known:
        raise ConfigError(
            f"{name} is not a configuration of {base}; use {base}/{f' or {base}/'.join(known)}",
            of="dataset",
        )
    default = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    return built.prepare(Builder, folder or default, configuration or known[0])


def _how_to_prepare(name: str, builder: "tfds.core.DatasetBuilder") -> str:
    folder = os.path.dirname(builder.data_dir)
    root = _root(builder)
    manual = ""
    if builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
        manual = (
            f" It must be downloaded manually: {' '.join(builder.MANUAL_DOWNLOAD_INSTRUCTIONS.split())} "
            f"Put the downloaded files into {os.path.join(root, 'downloads', 'manual')}."
        )
    return (
        f"{name} has not been prepared: {folder} does not contain it.{manual} "
        f"Prepare it once with `{_preparation(name, root)}`, or pass the folder that contains it with --data_dir. "
        "No preparation is needed for scenes/128 (rendered on this machine within a minute) and folder:PATH with your own images."
    )


def _root(builder: "tfds.core.DatasetBuilder") -> str:
    return builder.data_dir.removesuffix("/" + builder.info.full_name)


def _preparation(name: str, root: str) -> str:
    # The command `tfds` is not used, because it does not start if Apache Beam is not installed.
    prepare = (
        f"tfds.builder({name!r}, data_dir={root!r}, file_format='tfrecord').download_and_prepare()"
    )
    return f'python -c "import tensorflow_datasets as tfds; {prepare}"'


def _training_split(builder: "tfds.core.DatasetBuilder") -> str:
    name = builder.name
    if name in OF_THIS_PROJECT:
        return "unlabelled"
    # The challenge's "trainval"; its train split is only half of the training data.
    if name == "voc":
        return "train+validation"
    if "train" in builder.info.splits:
        return "train"
    raise ConfigError(
        f"{name} has no split named train; pass one of {', '.join(builder.info.splits)} with --split",
        of="dataset",
    )


def _instructions(
    name: str, builder: "tfds.core.DatasetBuilder", split: str
) -> list[tuple[str, int, int]]:
    try:
        found = builder.info.splits[split].file_instructions
    except (KeyError, ValueError, NotImplementedError):
        raise ConfigError(
            f"{split} is not a split of {name}; use one of {', '.join(builder.info.splits)}",
            of="split",
        ) from None
    if not found:
        raise ConfigError(
            f"{split} selects no images of {name}; its splits are {', '.join(builder.info.splits)}",
            of="split",
        )
    return [
        (
            os.fspath(instruction.filename),
            instruction.skip,
            instruction.examples_in_shard - instruction.skip
            if instruction.take == -1
            else instruction.take,
        )
        for instruction in found
    ]


def _image_feature(name: str, builder: "tfds.core.DatasetBuilder") -> str:
    tfds = _tfds()

    images = [
        key for key, value in builder.info.features.items() if type(value) is tfds.features.Image
    ]
    if not images:
        raise ConfigError(
            f"{name} contains no images; its features are {', '.join(builder.info.features)}",
            of="dataset",
        )
    return "image" if "image" in images else images[0]


def _tfds() -> Any:
    """Returns TFDS, whose import takes seconds and is not needed for other images."""
    import tensorflow_datasets

    return tensorflow_datasets
