"""The dataset `scenes`: rendered things and stuff, as a TFDS builder that needs no download.

    builder = scenes.prepare("~/tensorflow_datasets", "128")
    dataset = builder.as_dataset(split="unlabelled")

Importing this module registers the builder, so that `tfds.load("scenes/128")` works, too.
"""

import dataclasses
import os
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from pixpro_tf.data import built
from pixpro_tf.data.scenes import renderer

SPLITS = ("unlabelled", "train", "validation", "test")
_NUM_IMAGES = {
    128: {"unlabelled": 2000, "train": 1000, "validation": 250, "test": 250},
    256: {"unlabelled": 600, "train": 250, "validation": 100, "test": 100},
}

_DESCRIPTION = """
Rendered scenes for small experiments with dense self-supervised pre-training: three to six
overlapping things on two to four fields of stuff, with random pose, scale, colour and light, and
with litter between them. There are ten classes, each a combination of shape and material that does
not depend on colour: furrows, ripples, bricks and cobbles; striped and dotted balls, dotted and
checked stars, striped and checked rods. Every pixel has a class, and every thing has a box around
its visible pixels. A scene is a function of version, split and index only, and has the same
composition at both sizes. In "128_plain" the same scenes have no colour, and all surfaces have the
same mean grey and the same contrast; "128_plain_16k" has more unlabelled ones. Colour and
brightness make the positions in a scene so easy to distinguish that a method that learns from
positions learns little else within minutes.
"""


@dataclasses.dataclass(eq=False, kw_only=True)
class ScenesConfig(tfds.core.BuilderConfig):
    """Configuration of `scenes`.

    Attributes:
        size: side of the images in pixels.
        plain: whether surfaces differ only in structure, not in colour or contrast.
        num_images: number of scenes in each split.
    """

    size: int = 128
    plain: bool = False
    num_images: dict[str, int] = dataclasses.field(default_factory=dict)


class Scenes(tfds.core.GeneratorBasedBuilder):
    """Things and stuff whose classes depend on shape and material, never on colour.

    Features: `id` ("train/17"), `image` (uint8 `[S, S, 3]`, JPEG), `segmentation_mask` (uint8
    `[S, S, 1]`, class of every pixel) and `objects` (`bbox` around visible pixels, `label`); labels
    are indices into `renderer.CLASS_NAMES`. Labels of the split `unlabelled` are for inspection.

    A supervised `resnet10` with a 1x1 classifier on c5, trained for 600 steps of 16 crops of
    `train` at 128 pixels, reaches 66 % mIoU on `validation`: 73 to 75 % on stuff, 45 to 48 % on the
    striped things (which look like furrows from nearby) and 57 to 81 % on the others. The
    classifier alone on frozen random weights reaches 11 %. Both were measured on two cores with

        python -m benchmarks.scenes --data_dir=~/tensorflow_datasets
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    # Nothing is downloaded; a search for checksums would fail in TFDS 4.9.10 (its issue 11212).
    url_infos: ClassVar[dict] = {}
    BUILDER_CONFIGS = [
        ScenesConfig(
            name="128", description="128 x 128 pixels", size=128, num_images=_NUM_IMAGES[128]
        ),
        ScenesConfig(
            name="256", description="256 x 256 pixels", size=256, num_images=_NUM_IMAGES[256]
        ),
        ScenesConfig(
            name="128_plain",
            description="128 x 128 pixels, three equal channels, surfaces with the same grey",
            size=128,
            plain=True,
            num_images=_NUM_IMAGES[128],
        ),
        ScenesConfig(
            name="128_plain_16k",
            description="128_plain with 16 000 unlabelled scenes",
            size=128,
            plain=True,
            num_images=_NUM_IMAGES[128] | {"unlabelled": 16000},
        ),
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        return built.describe(self, _DESCRIPTION, renderer.CLASS_NAMES)

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        del dl_manager
        return {split: self._generate_examples(split) for split in SPLITS}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        config = self.builder_config
        for index in range(config.num_images[split]):
            yield index, _example(split, index, config.size, config.plain)


def _example(split: str, index: int, size: int, plain: bool) -> dict[str, Any]:
    scene = renderer.render(scene_seed(split, index), size, plain)
    # Even a plain scene has a tint, from its light.
    image = _without_colour(scene.image) if plain else scene.image
    # Full chroma resolution, because structures may be only one or two pixels wide.
    return built.example_of(f"{split}/{index}", image, scene, subsampling="4:4:4")


def scene_seed(split: str, index: int) -> tuple[int, int, int]:
    """Returns the seed of a scene for `renderer.render`; different splits never share a seed."""
    return Scenes.VERSION.major, SPLITS.index(split), index


def _without_colour(image: np.ndarray) -> np.ndarray:
    """Luma in three equal channels, uint8 `[S, S, 3]`; they stay equal in JPEG."""
    return np.asarray(Image.fromarray(image).convert("L").convert("RGB"))


def prepare(data_dir: str | os.PathLike, config: str = "128") -> tfds.core.DatasetBuilder:
    """Returns the builder of `scenes/<config>` and builds the dataset in `data_dir` unless it already exists.

    An interrupted build does not leave a dataset behind. If several processes start at the same
    time, one of them builds the dataset and the others wait.

    Args:
        data_dir: TFDS data directory, created if missing.
        config: "128", "256", "128_plain" or "128_plain_16k".

    Returns:
        A builder whose `as_dataset` works.

    Raises:
        ValueError: if the config is unknown.
        RunError: if the folder cannot be written.
    """
    known = [each.name for each in Scenes.BUILDER_CONFIGS]
    if config not in known:
        raise ValueError(f"config must be one of {', '.join(known)} (got {config})")
    return built.prepare(Scenes, data_dir, config)
