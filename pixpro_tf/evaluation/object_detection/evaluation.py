"""Object detection with a backbone, trained and scored according to the settings."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from pixpro_tf.backbones.fpn import Neck
from pixpro_tf.data.labelled import boxes
from pixpro_tf.data.labelled.detection import (
    NO_OBJECT,
    DetectionData,
    object_batches,
    open_detection,
    open_labels,
    random_object_batches,
)
from pixpro_tf.data.labelled.reading import reading
from pixpro_tf.data.progress import counted
from pixpro_tf.errors import ConfigError
from pixpro_tf.evaluation import pictures, training_steps
from pixpro_tf.evaluation.detection import DEFAULT_CHANNELS, DEFAULT_HEAD_LAYERS, Settings
from pixpro_tf.evaluation.object_detection.coco import (
    AveragePrecision,
    Objects,
    average_precision,
)
from pixpro_tf.evaluation.object_detection.detector import (
    Detections,
    Detector,
    assign,
    detect,
    detection_loss,
)
from pixpro_tf.evaluation.sources import load_backbone_and_neck
from pixpro_tf.evaluation.splits import print_overlap
from pixpro_tf.evaluation.unfinished import check_images
from pixpro_tf.optimizers.schedules import WarmupCosine

PICTURED = 6
# Share of the steps that are warm-up, and the norm to which gradients are clipped.
_WARMUP, _LONGEST_GRADIENT = 0.05, 10.0


@dataclasses.dataclass(frozen=True)
class Result:
    """Result of a detection evaluation.

    Attributes:
        scores: `AveragePrecision` on the evaluated split.
        detector: detector that was scored.
        data: dataset that it was scored on.
        examples: examples that it was scored on.
    """

    scores: Any
    detector: Any
    data: Any
    examples: Any


@dataclasses.dataclass(frozen=True)
class Opened:
    """Labelled images of an evaluation.

    Attributes:
        data: dataset that contains them.
        train_examples, examples: examples to train and to evaluate on.
    """

    data: DetectionData
    train_examples: tf.data.Dataset
    examples: tf.data.Dataset


def evaluate(settings: Settings, folder: str = "", opened: Opened | None = None) -> Result:
    """Trains and scores a detector according to the settings.

    Args:
        settings: flags of the command.
        folder: folder of the checkpoints from which an interrupted evaluation continues; empty writes none.
        opened: result of `open_data`, for several evaluations of the same images; None opens them.

    Raises:
        UserError: if something is wrong that the user can fix.
    """
    of = "labels" if settings.labels else "dataset"
    with reading(settings.labels or settings.dataset, of):
        opened = opened or open_data(settings, folder)
        data, examples = opened.data, opened.examples
        tf.keras.utils.set_random_seed(settings.seed)
        backbone, neck = load_backbone_and_neck(settings.source, settings.network)
        _check_pretrained(settings, neck)
        detector = Detector(
            backbone,
            len(data.class_names),
            channels=settings.channels or DEFAULT_CHANNELS,
            head_layers=settings.head_layers or DEFAULT_HEAD_LAYERS,
            neck=neck,
        )
        _train(settings, detector, opened.train_examples, data.prepare, folder)
        batches = object_batches(examples, settings.batch_size, data.prepare)
        return Result(score(detector, batches, data.class_names), detector, data, examples)


def open_data(settings: Settings, folder: str = "") -> Opened:
    """Opens the labelled images; splits that are unknown or have no objects are rejected before anything is trained.

    Args:
        settings: flags of the command.
        folder: folder of an evaluation that may have been interrupted, whose images must be the same; empty for none.
    """
    if settings.labels:
        train, evaluation, lines = boxes.read_parts(
            settings.labels,
            settings.images,
            settings.evaluation_labels,
            settings.evaluation_images,
            settings.class_names,
            settings.box_orientation,
        )
        print("\n".join([*lines, train.classes_line("--classes")]))
        images = [image.path for part in (train, evaluation) for image in part.images]
        check_images(folder, images)
        data = open_labels(train, evaluation, settings.image_size)
        return Opened(data, data.split("train"), data.split("evaluation"))
    data = open_detection(settings.dataset, settings.data_dir)
    examples = data.split(settings.split)
    # Average precision is undefined without objects; training takes long.
    if not any((~each["crowds"]).any() for each in examples.as_numpy_iterator()):
        raise ConfigError(
            f"--split={settings.split} of {settings.dataset} contains no objects; use another split"
        )
    print_overlap(settings.train_split, settings.split)
    return Opened(data, data.split(settings.train_split), examples)


def _check_pretrained(settings: Settings, neck: Neck | None) -> None:
    """Rejects flags that ask for an FPN or head different from the pre-trained one."""
    if neck is None:
        return
    head = neck.dense_head
    pretrained = {"channels": neck.fpn.channels, "head_layers": head and head.num_layers}
    for name, value in pretrained.items():
        given = getattr(settings, name)
        if given and value and given != value:
            raise ConfigError(
                f"--{name}={given} differs from the {value} that {settings.source} was pre-trained with; remove it"
            )


def _train(
    settings: Settings,
    detector: Detector,
    examples: tf.data.Dataset,
    prepare: Callable[..., Any] | None,
    folder: str,
) -> None:
    steps = settings.epochs * max(int(examples.cardinality()) // settings.batch_size, 1)
    rate = WarmupCosine(settings.rate, int(_WARMUP * steps), steps)
    optimizer = tf.keras.optimizers.Adam(rate, global_clipnorm=_LONGEST_GRADIENT)
    variables = detector.trainable_variables
    optimizer.build(variables)

    @tf.function(reduce_retracing=True)
    def step(batch: dict[str, tf.Tensor]) -> tf.Tensor:
        bins = detector.bins(*batch["image"].shape[1:3])
        labels = tf.where(batch["crowds"], tf.cast(NO_OBJECT, tf.int64), batch["labels"])
        targets = assign(bins, batch["boxes"], labels)
        with tf.GradientTape() as tape:
            loss = detection_loss(detector(batch["image"], training=True), targets)
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    batches = random_object_batches(examples, settings.batch_size, settings.seed, prepare)
    trained = {"detector": detector, "optimizer": optimizer}
    training_steps.run(step, batches, steps, trained, folder)


def score(
    detector: Detector, batches: tf.data.Dataset, class_names: Sequence[str]
) -> AveragePrecision:
    """Computes the `AveragePrecision` of a detector on batches of `object_batches`."""
    find = _finder(detector, batches.element_spec["image"].shape)
    truth, found = [], []
    for batch in counted(batches, int(batches.cardinality()), "batches scored"):
        detections = [each.numpy() for each in find(tf.cast(batch["image"], tf.float32))]
        objects = (batch[name].numpy() for name in ("boxes", "labels", "crowds"))
        for places, labels, crowds in zip(*objects, strict=True):
            kept = labels != NO_OBJECT
            truth.append(Objects(places[kept], labels[kept], crowds=crowds[kept]))
        for places, labels, scores, count in zip(*detections, strict=True):
            found.append(Objects(places[:count], labels[:count], scores[:count]))
    return average_precision(truth, found, class_names)


def _finder(detector: Detector, shape: Sequence[int]) -> Callable[[tf.Tensor], Detections]:
    """Returns a function from images of the shape `[B, H, W, 3]` to `Detections`, traced once for any B."""
    height, width = shape[1:3]

    @tf.function(input_signature=[tf.TensorSpec([None, height, width, 3])])
    def find(images: tf.Tensor) -> Detections:
        return detect(detector(images), detector.bins(height, width), height, width)

    return find


def detected(detector: Detector, batch: dict[str, np.ndarray]) -> Detections:
    """Returns the detections of a detector on a batch of `object_batches`, as NumPy arrays."""
    images = tf.constant(batch["image"], tf.float32)
    found = _finder(detector, images.shape)(images)
    return Detections(*(each.numpy() for each in found))


def results(settings: Settings, result: Result) -> dict:
    """Returns the contents of results.json."""
    return {"settings": dataclasses.asdict(settings), **dataclasses.asdict(result.scores)}


def describe(settings: Settings, result: Result) -> str:
    """Returns the text that the command prints."""
    scores = result.scores
    lines = [f"Average precision in %, {settings.evaluated}:"]
    for name, ap in scores.class_ap.items():
        if ap is not None:
            lines.append(f"  {name:<20}{100 * ap:>7.1f}")
    for name, ap in (("AP", scores.ap), ("AP50", scores.ap_50), ("AP75", scores.ap_75)):
        lines.append(f"  {name:<20}{100 * ap:>7.2f}")
    return "\n".join(lines)


def draw(settings: Settings, result: Result) -> dict[str, Any]:
    """Returns the figures to save next to results.json, by name."""
    batches = object_batches(result.examples.take(PICTURED), PICTURED, result.data.prepare)
    (batch,) = batches.as_numpy_iterator()
    found = detected(result.detector, batch)._asdict()
    scores = result.scores
    figure = pictures.boxes_picture(
        batch["image"],
        {
            "truth": pictures.true_boxes(batch),
            "detected": pictures.found_boxes(found),
        },
        result.data.class_names,
        f"{settings.evaluated}: AP {100 * scores.ap:.1f}, AP50 {100 * scores.ap_50:.1f} ({pictures.SHOWN_BOXES})",
    )
    return {"detections": figure}
