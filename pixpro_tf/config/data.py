"""Flags of the data: the images, their views, and the processes that create the views."""

import dataclasses
import os
import re
from typing import Any

from pixpro_tf.config.flag import flag, refuse
from pixpro_tf.data.views.channels import RGB, Channels
from pixpro_tf.data.views.policies import OF_COLOUR, POLICIES
from pixpro_tf.errors import why_not_a_folder

# Prefixes of --dataset for images that do not belong to a TFDS dataset.
OF_FILES = ("folder:", "zip:", "tfrecord:")


def has_splits(dataset: str) -> bool:
    """Returns whether the images of `--dataset` have splits: those of TFDS do."""
    return dataset != "photographs" and not dataset.startswith(OF_FILES)


# Flags with one number for each channel.
_OF_CHANNELS = ("channel_low", "channel_high", "channel_mean", "channel_std")
_MEASURE = "python -m pixpro_tf.statistics measures them and writes a flag file"


def on_bad_image_flag(used_by: dict[str, Any] | None = None) -> str:
    """Returns the flag `--on_bad_image`; for `used_by`, see `flag`."""
    return flag(
        "stop",
        "Data",
        "response to files that cannot be read as images: stop ends the command and names the file; skip finds the bad ones by "
        "decoding all files once, names and counts them, and leaves them out",
        choices=("stop", "skip"),
        used_by=used_by,
    )


@dataclasses.dataclass(frozen=True, init=False, repr=False, eq=False)
class DataFlags:
    """Images, their views, and the processes that create the views."""

    dataset: str = flag(
        "imagenet2012",
        "Data",
        "images to train on: a TFDS name (imagenet2012, coco/2017, voc/2007+2012), folder:PATH with JPEG, PNG, GIF, BMP, WebP and TIFF files "
        "at any depth, zip:FILE with such files in one archive, tfrecord:GLOB with TFRecord files, such as those that "
        "pixpro_tf.tfrecords writes, or the built-in scenes/128, scenes/256 and scenes/128_plain, which are generated on first use",
    )
    data_dir: str = flag(
        "",
        "Data",
        "folder in which TFDS keeps prepared datasets; empty for its default, ~/tensorflow_datasets",
        fixed=False,
        path=True,
    )
    split: str = flag(
        "",
        "Data",
        "split of a TFDS dataset; empty for all its training images (for scenes, the unlabelled ones)",
    )
    channels: int = flag(
        RGB.count,
        "Data",
        "number of channels of the images; with other channels than RGB in 8 bits, folder: and zip: also read NumPy's .npy files, TIFF with any "
        "number of channels (requires tifffile and imagecodecs), and greyscale files as they are stored; python -m pixpro_tf.statistics "
        "writes a flagfile with this flag and the next four",
        minimum=1,
    )
    channel_low: tuple[float, ...] = flag(
        RGB.low, "Data", "stored value of each channel that becomes 0; lower ones become 0 too"
    )
    channel_high: tuple[float, ...] = flag(
        RGB.high, "Data", "stored value of each channel that becomes 1; higher ones become 1 too"
    )
    channel_mean: tuple[float, ...] = flag(
        RGB.mean,
        "Data",
        "mean of each channel from 0 to 1, which becomes 0 in the input of the network; the default is ImageNet's",
    )
    channel_std: tuple[float, ...] = flag(
        RGB.std,
        "Data",
        "standard deviation of each channel from 0 to 1, which becomes 1 in the input of the network",
    )
    image_size: int = flag(224, "Data", "side of the square views", unit="pixels", minimum=1)
    min_crop_area: float = flag(
        0.08, "Data", "smallest area of a random crop", unit="fraction of the image"
    )
    max_crop_area: float = flag(
        1.0, "Data", "largest area of a random crop", unit="fraction of the image"
    )
    augmentation: str = flag(
        "byol",
        "Data",
        "policy of the photometric augmentation: byol blurs and solarises the two views with different probabilities; "
        "byol_symmetric uses their averages for both views; simclr_grey removes all colour",
        choices=tuple(POLICIES),
    )
    augment_on: str = flag(
        "host",
        "Data",
        "where photometric augmentation runs: in the input pipeline on the host, or in the training step on the device (accelerator)",
        choices=("host", "device"),
        fixed=False,
    )
    on_bad_image: str = on_bad_image_flag()
    shuffle_buffer: int = flag(
        8192,
        "Data",
        "size of the shuffle buffer for TFRecord files, including those of TFDS; folders and archives are always shuffled completely",
        unit="images",
        minimum=1,
    )
    data_service: str = flag(
        "",
        "Data",
        "addresses of the pixpro_tf.data_service processes that create the views, e.g. grpc://host1:5050,grpc://host2:5050; they read "
        "the images from the same paths; if empty, this process creates the views",
        fixed=False,
    )
    cache: str = flag(
        "off",
        "Data",
        "cache of the encoded images, filled before training: ram, for this run only, or disk, for later runs too; useful for images read "
        "over a network",
        choices=("off", "ram", "disk"),
        fixed=False,
    )
    cache_dir: str = flag(
        "~/.cache/pixpro_tf",
        "Data",
        "folder of --cache=disk, on this machine; the cache recognises images by name only, so delete it when their contents change",
        fixed=False,
        used_by={"cache": ("disk",)},
        path=True,
    )
    data_workers: int = flag(
        0,
        "Data",
        "number of images decoded in parallel on a host; 0 decodes one per CPU core; with --data_service, 0 lets tf.data choose",
        minimum=0,
        fixed=False,
    )

    @property
    def image_channels(self) -> Channels:
        """Number, range and statistics of the channels of the images."""
        return Channels(*(getattr(self, name) for name in _OF_CHANNELS))

    @property
    def data_services(self) -> list[str]:
        """Addresses of the data service; empty if the run creates its views itself."""
        return [part.strip() for part in self.data_service.split(",") if part.strip()]

    def check_data(self) -> None:
        """Raises `ConfigError` if these flags are invalid on their own or in combination."""
        self._check_dataset()
        self._check_channels()
        if not 0 < self.min_crop_area <= 1:
            refuse(self, "min_crop_area", "must be greater than 0 and at most 1, the whole image")
        if not self.min_crop_area <= self.max_crop_area <= 1:
            refuse(
                self,
                "max_crop_area",
                f"must be at least --min_crop_area={self.min_crop_area:g} and at most 1, the whole image",
            )
        if self.data_service:
            self._check_data_service()
        if "://" in self.cache_dir:
            refuse(self, "cache_dir", "is not a local path; use a folder on this machine")
        if self.split and not has_splits(self.dataset):
            refuse(
                self,
                "split",
                f"applies only to TFDS datasets, and --dataset={self.dataset} is not one; remove it",
            )

    def check_folder(self, run_dir: str) -> None:
        """Raises `ConfigError` if the folder of images does not exist on this machine, or would contain the figures of the run."""
        if self.dataset.startswith("folder:"):
            path = os.path.expanduser(self.dataset.removeprefix("folder:"))
            if "://" not in path and (reason := why_not_a_folder(path)):
                refuse(self, "dataset", f"cannot be read: {path} {reason}; use an existing folder")
            images, run = os.path.realpath(path), os.path.realpath(os.path.expanduser(run_dir))
            if "://" not in path + run_dir and os.path.commonpath([images, run]) == images:
                refuse(
                    self,
                    "dataset",
                    f"contains --run_dir={run_dir}, whose figures would be read as training images; use a --run_dir outside the dataset",
                )

    def _check_dataset(self) -> None:
        if not self.dataset:
            refuse(
                self,
                "dataset",
                "is empty; use a TFDS name, folder:PATH, zip:FILE, tfrecord:GLOB or scenes/128",
            )
        if self.dataset.startswith(OF_FILES):
            if self.dataset in OF_FILES:
                refuse(
                    self,
                    "dataset",
                    "lacks a path; use folder:/path/to/images, zip:/path/to/images.zip or 'tfrecord:/path/to/shards/*'",
                )
        elif "//" in self.dataset or not re.fullmatch(
            r"[A-Za-z_][\w]*([/:][\w.+\-/:*]+)?", self.dataset
        ):
            refuse(
                self,
                "dataset",
                "is neither a TFDS name nor folder:PATH, zip:FILE, tfrecord:GLOB or scenes/128; use one of these",
            )

    def _check_channels(self) -> None:
        for name in _OF_CHANNELS:
            count = len(getattr(self, name))
            if count != self.channels:
                refuse(
                    self,
                    name,
                    f"must have one number for each channel (--channels={self.channels}, got {count}); {_MEASURE}",
                )
        channels = self.image_channels
        if any(high <= low for low, high in zip(channels.low, channels.high, strict=True)):
            refuse(self, "channel_high", "must be greater than --channel_low in every channel")
        if min(channels.std) <= 0:
            refuse(self, "channel_std", f"must be greater than 0 in every channel; {_MEASURE}")
        if self.augmentation in OF_COLOUR and not channels.has_colour:
            refuse(
                self,
                "augmentation",
                f"needs red, green and blue, but --channels={self.channels}; use byol or simclr",
            )
        if channels.is_photograph:
            return
        if not self.dataset.startswith(("folder:", "zip:")):
            refuse(
                self,
                "dataset",
                "is read as 8-bit RGB; other channels and ranges require folder:PATH or zip:FILE",
            )
        if self.data_service:
            refuse(
                self,
                "data_service",
                "supports 8-bit RGB images only; remove it",
            )

    def _check_data_service(self) -> None:
        addresses = self.data_services
        if not addresses or not all(
            re.fullmatch(r"grpc://[^/\s]+:\d{1,5}", each) for each in addresses
        ):
            refuse(
                self,
                "data_service",
                "must be a list of addresses, e.g. grpc://host1:5050,grpc://host2:5050",
            )
        if self.dataset.startswith("zip:"):
            refuse(
                self,
                "data_service",
                "cannot read archives; use --dataset=folder:PATH, or convert the archive with pixpro_tf.tfrecords",
            )
        if self.cache != "off":
            refuse(
                self,
                "cache",
                "cannot be combined with --data_service, whose processes read the images themselves; remove --cache",
            )
