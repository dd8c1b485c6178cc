"""The dataset `composites`: real photographs of things on real photographs, as a TFDS builder.

    python train.py --flagfile=configs/own_images.flags --dataset=composites/128 --data_dir=data

Importing this module registers the builder, so that `tfds.load("composites/128")` works, too. The photographs are those of Debian's packages; nothing of them is part of this project.
"""

import dataclasses
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from pixpro_tf.data import built
from pixpro_tf.data.composites import files, renderer
from pixpro_tf.errors import RunError

SPLITS = (
    "unlabelled",
    "train",
    "validation",
    "validation_new_things",
    "test",
    "test_new_things",
)
CLASS_NAMES = ("background", *files.THINGS)
# Classes of the configurations that show only some of them: one to learn from with labels, the other to learn without.
_PARTS = {
    "plants": ("fruit", "vegetable", "flower"),
    "animals_vehicles": ("bird", "mammal", "vehicle"),
}
_NUM_IMAGES = {
    128: dict(zip(SPLITS, (2000, 1000, 250, 250, 250, 250), strict=True)),
    256: dict(zip(SPLITS, (1500, 400, 150, 150, 150, 150), strict=True)),
}
# Shares of the photographs of each kind for training and for validation; the rest is for testing.
_TRAINING, _VALIDATION = 0.6, 0.2
# Where packages install their files, and where they are unpacked without root, in the data directory.
_INSTALLED, _UNPACKED = "/usr/share", "debian"

_DESCRIPTION = """
Photographs of birds, mammals, fruits, vegetables, flowers and vehicles, cut out, on photographs of
other places. Three to five things per image, at random positions, sizes and angles; they may overlap
and reach beyond the image. Every pixel has a class, and every thing of which enough is visible has
a box. The photographs are divided before they are composed: `validation` and `test` show things
that `train` contains, on backgrounds that it does not, `validation_new_things` and
`test_new_things` show other things too. `unlabelled` is composed of the photographs of `train`.
"""


@dataclasses.dataclass(eq=False, kw_only=True)
class CompositesConfig(tfds.core.BuilderConfig):
    """Configuration of `composites`.

    Attributes:
        size: side of the images in pixels.
        num_images: number of images in each split.
        things: names of the classes of the things, in the order of their labels from 1 on.
    """

    size: int = 128
    num_images: dict[str, int] = dataclasses.field(default_factory=dict)
    things: tuple[str, ...] = tuple(files.THINGS)

    @property
    def part(self) -> tuple[int, ...]:
        """Labels, in the full dataset, of the classes of a configuration with fewer of them; empty if it has all."""
        return (
            tuple(map(CLASS_NAMES.index, self.things))
            if len(self.things) < len(files.THINGS)
            else ()
        )

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes by their labels."""
        return (CLASS_NAMES[0], *self.things)


class Composites(tfds.core.GeneratorBasedBuilder):
    """Photographs of things on photographs.

    Features: `id` ("train/17"), `image` (uint8 `[S, S, 3]`, JPEG), `segmentation_mask` (uint8 `[S, S, 1]`, class of every pixel, 0 for the
    background) and `objects` (`bbox` around visible pixels, `label`); labels are indices into `class_names` of the configuration.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First release."}
    # Nothing is downloaded; a search for checksums would fail in TFDS 4.9.10 (its issue 11212).
    url_infos: ClassVar[dict] = {}
    BUILDER_CONFIGS: ClassVar[list[CompositesConfig]] = [
        CompositesConfig(
            name=str(size),
            description=f"{size} x {size} pixels",
            size=size,
            num_images=_NUM_IMAGES[size],
        )
        for size in (128, 256)
    ] + [
        CompositesConfig(
            name=f"128_{name}",
            description=f"128 x 128 pixels, only the classes {', '.join(things)}",
            size=128,
            num_images=_NUM_IMAGES[128],
            things=things,
        )
        for name, things in _PARTS.items()
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        return built.describe(self, _DESCRIPTION, self.builder_config.class_names)

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        del dl_manager
        photographs = Photographs.find(os.fspath(self.data_dir_root))
        return {split: self._generate_examples(split, photographs) for split in SPLITS}

    def _generate_examples(
        self, split: str, photographs: "Photographs"
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        config = self.builder_config
        things, backgrounds = photographs.of_split(split, config.things)
        # Configurations with fewer classes do not repeat the arrangements of the others.
        for index in range(config.num_images[split]):
            seed = (self.VERSION.major, SPLITS.index(split), index, *config.part)
            composite = renderer.compose(seed, config.size, things, backgrounds)
            yield index, built.example_of(f"{split}/{index}", composite.image, composite)


@dataclasses.dataclass(frozen=True)
class Photographs:
    """Paths of the photographs on this machine.

    Attributes:
        things: paths of the things by class.
        backgrounds: paths of the backgrounds.
    """

    things: Mapping[str, Sequence[str]]
    backgrounds: Sequence[str]

    @classmethod
    def find(cls, data_dir: str) -> "Photographs":
        """Finds the photographs where Debian installs them, or unpacked in a data directory.

        Raises:
            RunError: if a package is missing; the message says how to get it without root.
        """
        things = {name: found(files.things_of(name), data_dir) for name in files.THINGS}
        behind = {name: found(files.backgrounds_of(name), data_dir) for name in files.BACKGROUNDS}
        missing = [] if all(things.values()) else [files.THINGS_PACKAGE]
        missing += [name for name, paths in behind.items() if not paths]
        if missing:
            names = " ".join(missing)
            raise RunError(
                f"composites needs photographs of Debian's packages; install {names}, or unpack them without root: `cd {data_dir} && "
                f"apt-get download {names} && for each in *.deb; do dpkg-deb -x $each {_UNPACKED}; done`",
                of="dataset",
            )
        return cls(things, [path for paths in behind.values() for path in paths])

    def of_split(
        self, split: str, classes: Sequence[str] = tuple(files.THINGS)
    ) -> tuple[list[list[str]], list[str]]:
        """Returns the things of each of some classes and the backgrounds of which a split is composed."""
        part = split.partition("_")[0].replace("unlabelled", "train")
        of_things = part if split.endswith("_new_things") else "train"
        things = [_part(self.things[name], of_things) for name in classes]
        return things, _part(self.backgrounds, part)


def found(paths: Sequence[str], data_dir: str) -> list[str]:
    """Finds files of Debian's packages, unpacked in a data directory or installed.

    Args:
        paths: paths relative to /usr/share.
        data_dir: data directory.

    Returns:
        Paths of all of them, or an empty list if any is missing.

    Examples:
        >>> from pixpro_tf.data.composites.builder import found
        >>> found(["nowhere.png"], "data")
        []
    """
    for place in (os.path.join(data_dir, _UNPACKED, "usr/share"), _INSTALLED):
        present = [os.path.join(place, path) for path in paths]
        if all(map(os.path.isfile, present)):
            return present
    return []


def _part(paths: Sequence[str], part: str) -> list[str]:
    """Returns the paths of "train", "validation" or "test": by a digest of their names, the same wherever they are."""
    ordered = sorted(
        paths, key=lambda path: hashlib.sha256(os.path.basename(path).encode()).digest()
    )
    ends = [round(len(ordered) * share) for share in (_TRAINING, _TRAINING + _VALIDATION)]
    parts = {
        "train": ordered[: ends[0]],
        "validation": ordered[ends[0] : ends[1]],
        "test": ordered[ends[1] :],
    }
    return parts[part]
