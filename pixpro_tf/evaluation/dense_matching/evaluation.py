"""Dense matching between two views of an image, without labels, scored according to the settings."""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from pixpro_tf.backbones.resnet import ResNet
from pixpro_tf.data.labelled.reading import reading
from pixpro_tf.data.pipeline import training_dataset
from pixpro_tf.data.sources import bad_images, open_source
from pixpro_tf.data.views.photometric import Photometric, denormalize
from pixpro_tf.data.views.policies import OF_COLOUR
from pixpro_tf.errors import ConfigError, RunError
from pixpro_tf.evaluation import computed, pictures
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


def evaluate(settings: Settings, folder: str = "") -> Result:
    """Matches views according to the settings.

    Args:
        settings: flags of the command.
        folder: folder of what an interrupted evaluation has computed; empty writes none.

    Raises:
        UserError: if something is wrong that the user can fix.
    """
    tf.keras.utils.set_random_seed(settings.seed)
    backbone = load_backbone(
        settings.source, settings.network, settings.output_stride, any_channels=True
    )
    with reading(settings.dataset, channels=backbone.channels):
        return _evaluate(settings, backbone, folder)


def _evaluate(settings: Settings, backbone: ResNet, folder: str) -> Result:
    channels = backbone.channels
    source = open_source(
        settings.dataset,
        data_dir=settings.data_dir,
        split=settings.split,
        shuffle_buffer=2000,
        channels=channels,
    )
    if source.passed_over:
        print(source.passed_over)
    if settings.on_bad_image == "skip":
        source = bad_images.leave_out(source, bad_images.decode_all(source), settings.dataset)
    if settings.augmentation in OF_COLOUR and not channels.has_colour:
        raise ConfigError(
            f"{settings.augmentation} needs red, green and blue, but {settings.source} takes images with {channels.count} channels; use byol or simclr",
            of="augmentation",
        )
    # Batches of one image leave out none at the end of an epoch, so that the pairs do not depend on the batch size.
    pairs = training_dataset(
        source,
        batch_size=1,
        image_size=settings.image_size,
        min_crop_area=settings.min_crop_area,
        seed=settings.seed,
        photometric=Photometric(settings.augmentation, channels),
    )

    @tf.function(reduce_retracing=True)
    def compare(batch: dict[str, tf.Tensor]) -> tuple[Matches, Matches]:
        map_1, map_2 = (
            backbone(batch[view], training=False)[settings.level] for view in ("view_1", "view_2")
        )
        box_1, box_2 = batch["box_1"], batch["box_2"]
        return match(map_1, map_2, box_1, box_2), match(map_2, map_1, box_2, box_1)

    def matched(batch: dict[str, tf.Tensor]) -> computed.Arrays:
        return tuple(
            each.numpy()
            for matches in compare(batch)
            for each in (matches.seen, matches.right, matches.chance)
        )

    total = -(-settings.pairs // settings.batch_size)
    batches = pairs.take(settings.pairs).unbatch().batch(settings.batch_size)
    batches = batches.apply(tf.data.experimental.assert_cardinality(total))
    seen, right, chance = 0, 0, 0.0
    for seen_1, right_1, chance_1, seen_2, right_2, chance_2 in computed.of_all_batches(
        matched, batches, "batches", folder
    ):
        seen += int(np.sum(seen_1) + np.sum(seen_2))
        right += int(np.sum(right_1) + np.sum(right_2))
        chance += float(np.sum(chance_1)) + float(np.sum(chance_2))
    if not seen:
        raise RunError(
            f"--min_crop_area={settings.min_crop_area:g} does not create any pair of overlapping views; use a larger value, or more --pairs"
        )
    batch = next(iter(batches))
    views = [
        pictures.as_rgb(denormalize(batch[view], channels).numpy()) for view in ("view_1", "view_2")
    ]
    one = [each.numpy() for each in compare(batch)[0]]
    examples = [
        (views[0][image], views[1][image], Matches(*(each[image] for each in one)))
        for image in range(min(PICTURED, len(views[0])))
    ]
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
