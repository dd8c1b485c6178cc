"""Sources of images: folders, zip archives, TFRecord files and TFDS datasets.

A source lists its encoded images in a different order in each epoch.
"""

from pixpro_tf.data.sources.bad_images import FileSource, find_bad_images
from pixpro_tf.data.sources.base import Source
from pixpro_tf.data.sources.folders import PHOTOGRAPHS, FolderSource, photographs
from pixpro_tf.data.sources.listed import ListedSource
from pixpro_tf.data.sources.shards import ShardSource
from pixpro_tf.data.sources.tfds_datasets import image_shards
from pixpro_tf.data.sources.tfrecords import find_shards
from pixpro_tf.data.sources.zip_archives import ZipSource
from pixpro_tf.data.views.channels import RGB, Channels
from pixpro_tf.errors import ConfigError

__all__ = ["FileSource", "ListedSource", "Source", "find_bad_images", "open_source"]


def open_source(
    dataset: str, *, data_dir: str, split: str, shuffle_buffer: int, channels: Channels = RGB
) -> FileSource:
    """Opens the source of a dataset.

    Args:
        dataset: `folder:PATH`, `zip:FILE`, `tfrecord:GLOB`, `scenes/128`, `scenes/256`, `photographs` (the eleven photographs of
            scikit-image), or a TFDS name; `voc/2007+2012` combines both configurations.
        data_dir: data directory of TFDS; empty for the default.
        split: split of the TFDS dataset; empty for all training images.
        shuffle_buffer: see `ShardSource`.
        channels: channels of the images; others than RGB in 8 bits need a folder or an archive.

    Raises:
        ConfigError: if the dataset, the configuration or the split does not exist, or cannot contain images with these channels.
        RunError: if the dataset has not been prepared; the message says what to do.
    """
    if dataset.startswith("folder:"):
        return FolderSource(dataset.removeprefix("folder:"), channels=channels)
    if dataset.startswith("zip:"):
        return ZipSource(dataset.removeprefix("zip:"), channels=channels)
    if not channels.is_photograph:
        raise ConfigError(
            f"{dataset} is read as 8-bit RGB; images with other channels or ranges require folder:PATH or zip:FILE",
            of="dataset",
        )
    if dataset.startswith("tfrecord:"):
        return ShardSource(*find_shards(dataset.removeprefix("tfrecord:")), shuffle_buffer)
    if dataset == PHOTOGRAPHS:
        return photographs()
    name, _, configurations = dataset.partition("/")
    found = [
        image_shards(f"{name}/{configuration}" if configuration else name, data_dir, split)
        for configuration in configurations.split("+")
    ]
    instructions = [instruction for each, _ in found for instruction in each]
    _, feature = found[0]
    return ShardSource(instructions, feature, shuffle_buffer)
