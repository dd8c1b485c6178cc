"""Classification by a linear layer or nearest neighbours, trained and scored according to the settings."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from pixpro_tf.data.labelled.classification import central_views, open_classification, random_views
from pixpro_tf.data.labelled.reading import reading
from pixpro_tf.errors import ConfigError, RunError
from pixpro_tf.evaluation import computed, training_steps
from pixpro_tf.evaluation.classification.neighbours import neighbour_votes
from pixpro_tf.evaluation.linear import Settings
from pixpro_tf.evaluation.sources import load_backbone, maps_of
from pixpro_tf.evaluation.splits import print_overlap

# Shares of the epochs after which the learning rate is divided by 10.
_DROPS = (0.6, 0.8)


@dataclasses.dataclass(frozen=True)
class Result:
    """Accuracies of a classification, as shares of the images of the split.

    Attributes:
        top_1: share of images whose class is the first choice.
        top_5: share of images whose class is among the first five choices; None for five classes or fewer.
        class_top_1: top-1 accuracy of each class; None for a class without images in the split.
        images: number of images.
    """

    top_1: float
    top_5: float | None
    class_top_1: dict[str, float | None]
    images: int


def evaluate(settings: Settings, folder: str = "") -> Result:
    """Trains and scores a classifier according to the settings.

    Args:
        settings: flags of the command.
        folder: folder of the checkpoints from which an interrupted evaluation continues; empty writes none.

    Raises:
        UserError: if something is wrong that the user can fix.
    """
    with reading(settings.dataset):
        skip = settings.on_bad_image == "skip"
        data = open_classification(settings.dataset, settings.data_dir, skip)
        # Splits that are unknown or without classes are rejected before anything is trained.
        splits = [data.split(name) for name in (settings.train_split, settings.split)]
        for name, examples in zip(("train_split", "split"), splits, strict=True):
            _check_labelled(examples, name, settings)
        print_overlap(settings.train_split, settings.split)
        tf.keras.utils.set_random_seed(settings.seed)
        backbone = load_backbone(settings.source, settings.network, settings.output_stride)

        @tf.function(reduce_retracing=True)
        def pooled(images: tf.Tensor) -> tf.Tensor:
            return tf.reduce_mean(maps_of(backbone, images, settings.level), axis=[1, 2])

        classify = _by_neighbours if settings.mode == "knn" else _by_a_layer
        found = classify(settings, pooled, splits[0], splits[1], len(data.class_names), folder)
        return _result(data.class_names, *found)


def _check_labelled(examples: tf.data.Dataset, flag: str, settings: Settings) -> None:
    # As a rule, all images of such a split lack a class; `_features` sees every label.
    for _, label in examples.take(1):
        if label < 0:
            raise ConfigError(
                f"{getattr(settings, flag)} of {settings.dataset} contains images without a class, as ImageNet's test split does; use "
                "another split",
                of=flag,
            )


def _by_neighbours(
    settings: Settings,
    pooled: Callable[[tf.Tensor], tf.Tensor],
    train_examples: tf.data.Dataset,
    examples: tf.data.Dataset,
    num_classes: int,
    folder: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the votes `[M, K]`, -inf for a class without one, and classes `[M]` of the evaluated split."""
    known, labels = _features(pooled, _central(settings, train_examples), folder, "train")
    if settings.neighbours > len(known):
        raise ConfigError(
            f"--neighbours={settings.neighbours} is greater than the number of images in --train_split={settings.train_split} "
            f"({len(known)}); use a smaller number"
        )
    features, truth = _features(pooled, _central(settings, examples), folder, "evaluate")
    votes = neighbour_votes(
        features, known, labels, num_classes, settings.neighbours, settings.temperature
    )
    # A class without a vote is none of the choices.
    return np.where(votes > 0, votes, -np.inf), truth


def _by_a_layer(
    settings: Settings,
    pooled: Callable[[tf.Tensor], tf.Tensor],
    train_examples: tf.data.Dataset,
    examples: tf.data.Dataset,
    num_classes: int,
    folder: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the logits `[M, K]` and classes `[M]` of the evaluated split."""
    count = int(train_examples.cardinality())
    if count < settings.batch_size:
        raise ConfigError(
            f"--batch_size={settings.batch_size} is greater than the number of images in --train_split={settings.train_split} "
            f"({count}); use a smaller batch size"
        )
    views = random_views(
        train_examples,
        settings.image_size,
        settings.batch_size,
        settings.min_crop_area,
        settings.seed,
    )
    layer = _train_layer(settings, pooled, views, num_classes, count // settings.batch_size, folder)
    features, truth = _features(pooled, _central(settings, examples), folder, "evaluate")
    return layer(features).numpy(), truth


def _train_layer(
    settings: Settings,
    pooled: Callable[[tf.Tensor], tf.Tensor],
    views: tf.data.Dataset,
    num_classes: int,
    epoch_steps: int,
    folder: str,
) -> tf.keras.layers.Dense:
    layer = tf.keras.layers.Dense(
        num_classes, kernel_initializer=tf.keras.initializers.RandomNormal(stddev=0.01)
    )
    optimizer = tf.keras.optimizers.SGD(
        rate_schedule(settings.rate, settings.epochs, epoch_steps), momentum=0.9
    )

    @tf.function
    def step(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        features = pooled(images)
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, layer(features))
            loss = tf.reduce_mean(losses)
        variables = layer.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    # Not from a batch: another pass over the views would change their order.
    images = tf.zeros([1, settings.image_size, settings.image_size, 3], tf.uint8)
    layer.build(pooled(images).shape)
    optimizer.build(layer.trainable_variables)
    trained = {"layer": layer, "optimizer": optimizer}
    training_steps.run(step, views, settings.epochs * epoch_steps, trained, folder)
    return layer


def rate_schedule(
    rate: float, epochs: int, epoch_steps: int
) -> tf.keras.optimizers.schedules.LearningRateSchedule:
    """Returns the learning-rate schedule by step: constant, divided by 10 after 60 % and again after 80 % of the epochs."""
    drops = [max(1, int(epochs * share * epoch_steps)) for share in _DROPS]
    rates = [rate * 0.1**power for power in range(len(drops) + 1)]
    return tf.keras.optimizers.schedules.PiecewiseConstantDecay(drops, rates)


def _central(settings: Settings, examples: tf.data.Dataset) -> tf.data.Dataset:
    return central_views(examples, settings.image_size, settings.batch_size)


def _features(
    pooled: Callable[[tf.Tensor], tf.Tensor],
    batches: tf.data.Dataset,
    folder: str = "",
    name: str = "",
) -> tuple[np.ndarray, np.ndarray]:
    pairs = computed.of_all_batches(
        lambda images, labels: (pooled(images).numpy(), labels.numpy()),
        batches,
        "batches of features",
        os.path.join(folder, name) if folder else "",
    )
    if not pairs:
        raise RunError("--train_split or --split contains no images; use other splits")
    features, labels = (np.concatenate(column) for column in zip(*pairs, strict=True))
    if np.any(labels < 0):
        raise RunError(
            "--train_split or --split contains images without a class, as ImageNet's test split does; use other splits"
        )
    return features, labels


def _result(class_names: Sequence[str], scores: np.ndarray, truth: np.ndarray) -> Result:
    order = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    hits = order[:, 0] == truth
    chosen = np.isfinite(np.take_along_axis(scores, order, axis=1))
    among_five = (chosen & (order == truth[:, None])).any(axis=1)
    known = [truth == index for index in range(len(class_names))]
    return Result(
        top_1=float(hits.mean()),
        top_5=float(among_five.mean()) if len(class_names) > 5 else None,
        class_top_1={
            name: float(hits[chosen].mean()) if chosen.any() else None
            for name, chosen in zip(class_names, known, strict=True)
        },
        images=len(truth),
    )


def results(settings: Settings, result: Result) -> dict[str, Any]:
    """Returns the contents of results.json."""
    return {"settings": dataclasses.asdict(settings), **dataclasses.asdict(result)}


def describe(settings: Settings, result: Result) -> str:
    """Returns the text that the command prints."""
    top_5 = "" if result.top_5 is None else f", top-5 {100 * result.top_5:.2f} %"
    return (
        f"{settings.dataset}, {settings.split}, {settings.mode}: top-1 {100 * result.top_1:.2f} %{top_5} "
        f"of {result.images} images"
    )
