"""Semantic segmentation with a backbone, trained and scored according to the settings."""

import dataclasses
import math
import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from pixpro_tf.backbones.resnet import ResNet
from pixpro_tf.data.labelled.reading import reading
from pixpro_tf.data.labelled.segmentation import (
    IGNORED,
    SegmentationData,
    image_batches,
    open_segmentation,
    random_crops,
)
from pixpro_tf.data.progress import counted
from pixpro_tf.errors import ConfigError
from pixpro_tf.evaluation import pictures
from pixpro_tf.evaluation.dense import Settings
from pixpro_tf.evaluation.segmentation import frozen
from pixpro_tf.evaluation.segmentation.scores import SegmentationScores
from pixpro_tf.evaluation.segmentation.segmenter import (
    FCNHead,
    LinearHead,
    Segmenter,
    predict,
    score,
    train,
)
from pixpro_tf.evaluation.sources import load_backbone
from pixpro_tf.evaluation.splits import print_overlap
from pixpro_tf.evaluation.training_steps import DivergedError

PICTURED = 6


_BATCHES_OF_MOMENTS = 20


@dataclasses.dataclass(frozen=True)
class Result:
    """Result of a segmentation evaluation.

    Attributes:
        scores: `SegmentationScores` on the evaluated split.
        rate: learning rate that was chosen.
        selection: mIoU on the selection split by learning rate, None where training diverged; empty if there was only one rate.
        segmenter: segmenter that was scored.
        data: dataset that it was scored on.
    """

    scores: Any
    rate: float
    selection: dict[float, float | None]
    segmenter: Any
    data: Any


def evaluate(
    settings: Settings, folder: str = "", opened: SegmentationData | None = None
) -> Result:
    """Trains and scores a segmenter according to the settings.

    Args:
        settings: flags of the command.
        folder: folder of the checkpoints from which an interrupted evaluation continues; empty writes none.
        opened: result of `open_data`, for several evaluations of the same images; None opens them.

    Raises:
        UserError: if something is wrong that the user can fix.
    """
    with reading(settings.dataset):
        return _evaluate(settings, opened or open_data(settings), folder)


def open_data(settings: Settings) -> SegmentationData:
    """Opens the images and masks; splits that are unknown or without a pixel that counts are rejected before anything is trained."""
    data = open_segmentation(settings.dataset, settings.data_dir, settings.on_bad_image == "skip")
    for name in ("train_split", "split", "selection_split"):
        chosen = getattr(settings, name)
        # As a rule, the first mask decides; test splits without published masks have none.
        if chosen and not any(_counts(each["mask"]) for each in data.split(chosen)):
            raise ConfigError(
                f"{chosen} of {settings.dataset} contains no pixel with a class, only ignored ones; use another split",
                of=name,
            )
    print_overlap(settings.train_split, settings.split)
    return data


def _counts(mask: tf.Tensor) -> bool:
    return bool((mask.numpy() != IGNORED).any())


def _evaluate(settings: Settings, data: SegmentationData, folder: str) -> Result:
    splits = {
        name: data.split(name)
        for name in (settings.train_split, settings.split, settings.selection_split)
        if name
    }

    def scored(segmenter: Segmenter, split: str) -> SegmentationScores:
        batches = image_batches(splits[split], settings.batch_size)
        total = int(batches.cardinality())
        return score(segmenter, counted(batches, total, "batches scored"), len(data.class_names))

    selection: dict[float, float | None] = {}
    best, highest = None, -math.inf
    examples, num_classes = splits[settings.train_split], len(data.class_names)
    train_with = _trainer(settings, examples, num_classes, folder)
    for rate in settings.rates:
        try:
            segmenter = train_with(rate)
        except DivergedError as error:
            if not settings.selection_split:
                raise
            print(f"learning rate {rate:g}: {error}", flush=True)
            selection[rate], last_error = None, error
            continue
        if settings.selection_split:
            selection[rate] = value = scored(segmenter, settings.selection_split).mean_iou
            if value <= highest:
                continue
            highest = value
        best = rate, segmenter
    if best is None:
        raise last_error
    return Result(scored(best[1], settings.split), best[0], selection, best[1], data)


def _trainer(
    settings: Settings, examples: tf.data.Dataset, num_classes: int, folder: str
) -> Callable[[float], Segmenter]:
    """Returns a function that trains a segmenter with a learning rate."""

    def backbone() -> ResNet:
        # Random weights of the backbone and the head are the same for each learning rate.
        tf.keras.utils.set_random_seed(settings.seed)
        found = load_backbone(settings.source, settings.network, settings.output_stride)
        stride = found.stride_of(settings.level)
        if settings.margin % stride:
            raise ConfigError(
                f"--margin={settings.margin} must be a multiple of {settings.level}'s stride of {stride}"
            )
        return found

    if settings.mode == "finetune":

        def train_all(rate: float) -> Segmenter:
            segmenter = Segmenter(backbone(), settings.level, FCNHead(num_classes), True)
            return _trained_on_crops(settings, examples, segmenter, rate, folder)

        return train_all

    frozen_backbone = backbone()
    if settings.crop_size:
        crops = _crops(settings, examples).take(_BATCHES_OF_MOMENTS)
        function = frozen.map_function(frozen_backbone, settings.level)
        mean, deviation = frozen.moments(function(images).numpy() for images, _ in crops)

        def train_head_on_crops(rate: float) -> Segmenter:
            head = LinearHead(num_classes, mean, deviation)
            segmenter = Segmenter(frozen_backbone, settings.level, head, False)
            return _trained_on_crops(settings, examples, segmenter, rate, folder)

        return train_head_on_crops

    maps, masks = frozen.maps_and_masks(
        frozen.map_function(frozen_backbone, settings.level, settings.margin),
        image_batches(examples, settings.batch_size),
        os.path.join(folder, "maps") if folder else "",
    )

    def train_head_on_maps(rate: float) -> Segmenter:
        head = frozen.train_linear(
            maps,
            masks,
            num_classes,
            rate=rate,
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            seed=settings.seed,
            folder=_folder_of(rate, folder),
        )
        return Segmenter(frozen_backbone, settings.level, head, False, settings.margin)

    return train_head_on_maps


def _folder_of(rate: float, folder: str) -> str:
    return os.path.join(folder, f"rate_{rate:g}") if folder else ""


def _crops(settings: Settings, examples: tf.data.Dataset) -> tf.data.Dataset:
    scales = settings.min_scale, settings.max_scale
    crops = random_crops(examples, settings.crop_size, settings.seed, *scales)
    return crops.batch(settings.batch_size, drop_remainder=True).prefetch(2)


def _trained_on_crops(
    settings: Settings, examples: tf.data.Dataset, segmenter: Segmenter, rate: float, folder: str
) -> Segmenter:
    segmenter(tf.zeros([1, settings.crop_size, settings.crop_size, 3]))
    # Each epoch has as many crops as images.
    steps = settings.epochs * max(int(examples.cardinality()) // settings.batch_size, 1)
    schedule = tf.keras.optimizers.schedules.CosineDecay(rate, steps)
    linear = settings.mode == "linear"
    train(
        segmenter,
        segmenter.trainable_variables,
        tf.keras.optimizers.Adam(schedule) if linear else tf.keras.optimizers.SGD(schedule, 0.9),
        _crops(settings, examples),
        steps,
        0.0 if linear else settings.weight_decay,
        _folder_of(rate, folder),
    )
    return segmenter


def results(settings: Settings, result: Result) -> dict:
    """Returns the contents of results.json; the IoU of a class that does not occur is null."""
    scores = result.scores
    iou = zip(result.data.class_names, scores.class_iou.tolist(), strict=True)
    return {
        "settings": dataclasses.asdict(settings),
        "mean_iou": scores.mean_iou,
        "pixel_accuracy": scores.pixel_accuracy,
        "class_iou": {name: None if math.isnan(value) else value for name, value in iou},
        "rate": result.rate,
        "selection": {f"{rate:g}": value for rate, value in result.selection.items()},
        "confusion": scores.confusion.tolist(),
    }


def describe(settings: Settings, result: Result) -> str:
    """Returns the text that the command prints."""
    scores = result.scores
    lines = [f"IoU in %, {settings.dataset}, {settings.split}, {settings.mode}:"]
    for name, iou in zip(result.data.class_names, scores.class_iou, strict=True):
        lines.append(f"  {name:<20}{'absent' if math.isnan(iou) else format(100 * iou, '.1f'):>7}")
    lines.append(f"  {'mean':<20}{100 * scores.mean_iou:>7.2f}")
    lines.append(f"Pixel accuracy: {100 * scores.pixel_accuracy:.2f} %")
    for rate, iou in result.selection.items():
        chosen = " (chosen)" if rate == result.rate else ""
        found = (
            f"mIoU {100 * iou:.2f} on {settings.selection_split}" if iou is not None else "diverged"
        )
        lines.append(f"Learning rate {rate:g}: {found}{chosen}")
    return "\n".join(lines)


def draw(settings: Settings, result: Result) -> dict[str, Any]:
    """Returns the figures to save next to results.json, by name."""
    title = f"{settings.dataset}, {settings.split}: mIoU {100 * result.scores.mean_iou:.1f} %"
    names = result.data.class_names
    shown = [
        (images[0].numpy(), masks[0].numpy(), predict(result.segmenter, images, masks)[0].numpy())
        for images, masks in image_batches(result.data.split(settings.split).take(PICTURED), 1)
    ]
    images, masks, predictions = zip(*shown, strict=True)
    return {
        "confusion": pictures.confusion_picture(result.scores.confusion, names, title),
        "predictions": pictures.masks_picture(
            images, {"truth": masks, "predicted": predictions}, names, title
        ),
    }
