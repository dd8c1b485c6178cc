"""Dense matching between two views of an image, without labels, scored according to the settings."""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from pixpro_tf.backbones.resnet import ResNet
from pixpro_tf.data.labelled.reading import reading
from pixpro_tf.data.pipeline import training_dataset
from pixpro_tf.data.progress import counted
from pixpro_tf.data.sources import bad_images, open_source
from pixpro_tf.data.views.photometric import Photometric, denormalize
from pixpro_tf.data.views.policies import OF_COLOUR
from pixpro_tf.errors import ConfigError, RunError
from pixpro_tf.evaluation import pictures
from pixpro_tf.evaluation.correspondence import Settings
from pixpro_tf.evaluation.dense_matching.matching import Matches, match
from pixpro_tf.evaluation.sources import load_backbone

PICTURED = 4


@dataclasses.dataclass(frozen=True)
class Result:
    """Result of a dense matching evaluation.

    Attributes:
        found: dense matching accuracy, the share of the bins visible in the other view whose nearest bin there is at most one bin away
            from their position.
        chance: accuracy of guessing.
        bins: number of bins visible in the other view, summed over both directions.
        examples: the first pairs, each `(view, other view, Matches of the view's bins)` of one image, as NumPy arrays; views are RGB in
            [0, 1].
    """

    found: float
    chance: float
    bins: int
    examples: list[Any]


def evaluate(settings: Settings) -> Result:
    """Matches views according to the settings; raises `UserError` for anything that the user can fix."""
    tf.keras.utils.set_random_seed(settings.seed)
    backbone = load_backbone(
        settings.source, settings.network, settings.output_stride, any_channels=True
    )
    with reading(settings.dataset, channels=backbone.channels):
        return _evaluate(settings, backbone)


def _evaluate(settings: Settings, backbone: ResNet) -> Result:
    channels = backbone.channels
    source = open_source(
        settings.dataset,
        data_dir=settings.data_dir,
        split=settings.split,
        shuffle_buffer=2000,
        channels=channels,
    )
    if settings.on_bad_image == "skip":
        source = bad_images.leave_out(source, bad_images.decode_all(source), settings.dataset)
    if settings.augmentation in OF_COLOUR and not channels.has_colour:
        raise ConfigError(
            f"{settings.augmentation} needs red, green and blue, but {settings.source} takes images with {channels.count} channels; use byol or simclr",
            of="augmentation",
        )
    batch_size = min(settings.batch_size, source.num_images, settings.pairs)
    batches = training_dataset(
        source,
        batch_size=batch_size,
        image_size=settings.image_size,
        min_crop_area=settings.min_crop_area,
        seed=settings.seed,
        photometric=Photometric(settings.augmentation, channels),
    )

    @tf.function
    def compare(batch: dict[str, tf.Tensor]) -> tuple[Matches, Matches]:
        map_1, map_2 = (
            backbone(batch[view], training=False)[settings.level] for view in ("view_1", "view_2")
        )
        box_1, box_2 = batch["box_1"], batch["box_2"]
        return match(map_1, map_2, box_1, box_2), match(map_2, map_1, box_2, box_1)

    seen, right, chance = 0, 0, 0.0
    examples: list[Any] = []
    left = settings.pairs
    total = -(-settings.pairs // batch_size)
    for batch in counted(batches.take(total), total, "batches"):
        both = compare(batch)
        for matches in both:
            seen += int(np.sum(matches.seen[:left]))
            right += int(np.sum(matches.right[:left]))
            chance += float(np.sum(matches.chance[:left]))
        if not examples:
            views = [
                pictures.as_rgb(denormalize(batch[view], channels).numpy())
                for view in ("view_1", "view_2")
            ]
            one = [each.numpy() for each in both[0]]
            for image in range(min(PICTURED, batch_size)):
                matches = Matches(*(each[image] for each in one))
                examples.append((views[0][image], views[1][image], matches))
        left -= batch_size
    if not seen:
        raise RunError(
            f"--min_crop_area={settings.min_crop_area:g} does not create any pair of overlapping views; use a larger value, or more --pairs"
        )
    return Result(right / seen, chance / seen, seen, examples)


def results(settings: Settings, result: Result) -> dict:
    """Returns the contents of results.json."""
    return {
        "settings": dataclasses.asdict(settings),
        "found": result.found,
        "chance": result.chance,
        "bins": result.bins,
    }


def describe(settings: Settings, result: Result) -> str:
    """Returns the text that the command prints."""
    del settings
    return (
        f"Dense matching accuracy: {100 * result.found:.1f} % of {result.bins} bins are matched within one bin of their position "
        f"in the other view; chance: {100 * result.chance:.1f} %"
    )


def draw(settings: Settings, result: Result) -> dict[str, Any]:
    """Returns the figures to save next to results.json, by name."""
    title = f"{settings.dataset}: {100 * result.found:.1f} % of the bins matched within one bin (chance: {100 * result.chance:.1f} %)"
    return {"matches": pictures.matches_picture(result.examples, title)}
