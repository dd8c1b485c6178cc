"""Flags of the data: which images, which views of them, and who makes them."""

import dataclasses
import os
import re

from pixpro_tf.config.flag import flag, refuse
from pixpro_tf.data.views.policies import POLICIES

# What --dataset begins with where it is not TFDS that keeps the images.
OF_FILES = ("folder:", "zip:", "tfrecord:")


@dataclasses.dataclass(frozen=True, init=False, repr=False, eq=False)
class DataFlags:
    """Which images, which views of them, and who makes them."""

    dataset: str = flag(
        "imagenet2012",
        "Data",
        "images to learn from: a TFDS name (imagenet2012, coco/2017, voc/2007+2012), folder:PATH with JPEG and PNG files at any "
        "depth, zip:FILE with such files in one archive, tfrecord:GLOB with records "
        "that pixpro_tf.tfrecords has written, or the embedded scenes/128, scenes/256 and scenes/128_plain, which build themselves",
    )
    data_dir: str = flag(
        "",
        "Data",
        "where TFDS keeps prepared datasets; empty for its default, ~/tensorflow_datasets",
        fixed=False,
    )
    split: str = flag(
        "",
        "Data",
        "split of a TFDS dataset; empty for all its training images (scenes: unlabelled)",
    )
    image_size: int = flag(224, "Data", "side of the square views", unit="pixels", minimum=1)
    min_crop_area: float = flag(0.08, "Data", "smallest area of a crop", unit="share of the image")
    max_crop_area: float = flag(1.0, "Data", "largest area of a crop", unit="share of the image")
    augmentation: str = flag(
        "byol",
        "Data",
        "photometric policy; byol treats the two views differently, byol_symmetric both by the mean of that; simclr_grey leaves no colour",
        choices=tuple(POLICIES),
    )
    augment_on: str = flag(
        "host",
        "Data",
        "where photometric work runs: in the input pipeline, or in the training step on the accelerator",
        choices=("host", "device"),
        fixed=False,
    )
    on_bad_image: str = flag(
        "stop",
        "Data",
        "stop: a file that cannot be read as an image ends the run with its name; "
        "skip: all files are decoded once before the run, the bad ones named, counted and left out",
        choices=("stop", "skip"),
    )
    shuffle_buffer: int = flag(
        8192,
        "Data",
        "reach of the shuffling within TFRecord files, TFDS's too; folders and archives are shuffled as a whole",
        unit="images",
        minimum=1,
    )
    data_service: str = flag(
        "",
        "Data",
        "where pixpro_tf.data_service makes the views, as grpc://host1:5050,grpc://host2:5050; it reads the images from the same paths; "
        "empty makes them in this process",
        fixed=False,
    )
    cache: str = flag(
        "off",
        "Data",
        "where encoded images are kept after a first reading of all of them: ram, or disk, which later runs share; for images that come "
        "over a network",
        choices=("off", "ram", "disk"),
        fixed=False,
    )
    cache_dir: str = flag(
        "~/.cache/pixpro_tf",
        "Data",
        "of --cache=disk, on this machine; known by the images' names, so delete it where they change",
        fixed=False,
        used_by={"cache": ("disk",)},
    )
    data_workers: int = flag(
        0,
        "Data",
        "images decoded in parallel on a host; 0 is one for each of its cores, or with --data_service what tf.data chooses there",
        minimum=0,
        fixed=False,
    )

    @property
    def data_services(self) -> list[str]:
        """Addresses of the data service; none if the run makes its views by itself."""
        return [part.strip() for part in self.data_service.split(",") if part.strip()]

    def check_data(self) -> None:
        """Raises `ConfigError` for a combination of these flags that cannot be."""
        self._check_dataset()
        if not 0 < self.min_crop_area <= 1:
            refuse(
                self, "min_crop_area", "is no share of an image; give a number above 0, at most 1"
            )
        if not self.min_crop_area <= self.max_crop_area <= 1:
            refuse(
                self,
                "max_crop_area",
                f"must be from --min_crop_area={self.min_crop_area:g} to 1, the whole image",
            )
        if self.data_service:
            self._check_data_service()
        if "://" in self.cache_dir:
            refuse(self, "cache_dir", "is an address; give a folder of this machine")
        if self.split and self.dataset.startswith(OF_FILES):
            refuse(
                self,
                "split",
                f"is of TFDS datasets, and --dataset={self.dataset} is none; leave it out",
            )

    def check_folder(self) -> None:
        """Raises `ConfigError` if the folder of the images does not exist on this machine."""
        if self.dataset.startswith("folder:"):
            path = os.path.expanduser(self.dataset.removeprefix("folder:"))
            if "://" not in path and not os.path.isdir(path):
                what = "is a file" if os.path.exists(path) else "does not exist"
                refuse(self, "dataset", f"names no folder: {path} {what}")

    def _check_dataset(self) -> None:
        if not self.dataset:
            refuse(
                self,
                "dataset",
                "names nothing; give a TFDS name, folder:PATH, zip:FILE, tfrecord:GLOB or scenes/128",
            )
        if self.dataset.startswith(OF_FILES):
            if self.dataset in OF_FILES:
                refuse(
                    self,
                    "dataset",
                    "lacks a path; write folder:/path/to/images, zip:/path/to/images.zip or 'tfrecord:/path/to/shards/*'",
                )
        elif "//" in self.dataset or not re.fullmatch(
            r"[A-Za-z_][\w]*([/:][\w.+\-/:*]+)?", self.dataset
        ):
            refuse(
                self,
                "dataset",
                "is neither a TFDS name nor folder:PATH, zip:FILE, tfrecord:GLOB or scenes/128",
            )

    def _check_data_service(self) -> None:
        addresses = self.data_services
        if not addresses or not all(
            re.fullmatch(r"grpc://[^/\s]+:\d+", each) for each in addresses
        ):
            refuse(self, "data_service", "must be addresses as grpc://host1:5050,grpc://host2:5050")
        if self.dataset.startswith("zip:"):
            refuse(
                self,
                "data_service",
                "cannot read archives; give folder:PATH, or make shards by pixpro_tf.tfrecords",
            )
        if self.cache != "off":
            refuse(self, "cache", "is of this process, which --data_service relieves; leave it out")
