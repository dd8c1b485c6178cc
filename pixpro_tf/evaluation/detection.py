"""Object detection from a backbone: a small anchor-free detector on it, everything fine-tuned, scored by COCO's average precision.

python -m pixpro_tf.evaluation.detection --from=runs/mine --dataset=scenes/128 --data_dir=data
"""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pixpro_tf.errors import ConfigError
from pixpro_tf.evaluation import flags
from pixpro_tf.evaluation.flags import command, flag

if TYPE_CHECKING:
    import tensorflow as tf

    from pixpro_tf.backbones.fpn import Neck
    from pixpro_tf.evaluation.coco import AveragePrecision
    from pixpro_tf.evaluation.detector import Detections, Detector

PICTURED = 6
# Of the steps, for which the rate rises; and the length to which longer gradients are cut.
_WARMUP, _LONGEST_GRADIENT = 0.05, 10.0
# Of a detector whose backbone comes without an FPN and a head.
_CHANNELS, _HEAD_LAYERS = 64, 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(flags.Settings):
    """How a detector is trained and scored; raises `ConfigError` for values that cannot be."""

    dataset: str = flag(
        "scenes/128, scenes/256, or a TFDS name with objects whose images are all of one size"
    )
    train_split: str = flag("on which the detector is trained", "train")
    split: str = flag("on which the scores are taken", "validation")
    epochs: int = flag("passes over the training split", 12, minimum=1)
    rate: float = flag("learning rate of Adam, after a warm-up", 1e-3, minimum=1e-12)
    channels: int = flag(
        f"of the FPN and the head; 0 is as they were pre-trained, or else {_CHANNELS}", 0, minimum=0
    )
    head_layers: int = flag(
        f"3x3 convolutions of each tower of the head; 0 is as they were pre-trained, or else {_HEAD_LAYERS}",
        0,
        minimum=0,
    )


@dataclasses.dataclass(frozen=True)
class Result:
    """What was found.

    Attributes:
        scores: `AveragePrecision` on the split.
        detector: that was scored.
        data: on which.
    """

    scores: Any
    detector: Any
    data: Any


def evaluate(settings: Settings) -> Result:
    """Trains and scores as the settings say; raises `UserError` for whatever the user can mend."""
    import tensorflow as tf

    from pixpro_tf.data.labelled.detection import object_batches, open_detection
    from pixpro_tf.data.labelled.segmentation import reading
    from pixpro_tf.evaluation.coco import require_pycocotools
    from pixpro_tf.evaluation.detector import Detector
    from pixpro_tf.evaluation.sources import load_backbone_and_neck

    require_pycocotools()
    with reading(settings.dataset):
        data = open_detection(settings.dataset, settings.data_dir)
        # Unknown splits are found before anything is trained.
        train_examples, examples = (
            data.split(name) for name in (settings.train_split, settings.split)
        )
        tf.keras.utils.set_random_seed(settings.seed)
        backbone, neck = load_backbone_and_neck(settings.source, settings.network)
        _check_pretrained(settings, neck)
        detector = Detector(
            backbone,
            len(data.class_names),
            channels=settings.channels or _CHANNELS,
            head_layers=settings.head_layers or _HEAD_LAYERS,
            neck=neck,
        )
        _train(settings, detector, train_examples)
        batches = object_batches(examples, settings.batch_size)
        return Result(score(detector, batches, data.class_names), detector, data)


def _check_pretrained(settings: Settings, neck: "Neck | None") -> None:
    """Refuses flags that ask for another FPN or head than the one that was pre-trained."""
    if neck is None:
        return
    head = neck.dense_head
    pretrained = {"channels": neck.fpn.channels, "head_layers": head and head.num_layers}
    for name, value in pretrained.items():
        given = getattr(settings, name)
        if given and value and given != value:
            raise ConfigError(
                f"--{name}={given} is not what {settings.source} was pre-trained with, {value}; leave it out"
            )


def _train(settings: Settings, detector: "Detector", examples: "tf.data.Dataset") -> None:
    import tensorflow as tf

    from pixpro_tf.data.labelled.detection import random_object_batches
    from pixpro_tf.evaluation.detector import assign, detection_loss
    from pixpro_tf.evaluation.segmenter import check_finite
    from pixpro_tf.optimizers.schedules import WarmupCosine

    steps = settings.epochs * max(int(examples.cardinality()) // settings.batch_size, 1)
    rate = WarmupCosine(settings.rate, int(_WARMUP * steps), steps)
    optimizer = tf.keras.optimizers.Adam(rate, global_clipnorm=_LONGEST_GRADIENT)
    variables = detector.trainable_variables
    optimizer.build(variables)

    @tf.function(reduce_retracing=True)
    def step(batch: "dict[str, tf.Tensor]") -> "tf.Tensor":
        bins = detector.bins(*batch["image"].shape[1:3])
        targets = assign(bins, batch["boxes"], batch["labels"])
        with tf.GradientTape() as tape:
            loss = detection_loss(detector(batch["image"], training=True), targets)
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    loss = 0.0
    for batch in random_object_batches(examples, settings.batch_size, settings.seed).take(steps):
        loss = step(batch)
    check_finite(float(loss))


def score(
    detector: "Detector", batches: "tf.data.Dataset", class_names: Sequence[str]
) -> "AveragePrecision":
    """The `AveragePrecision` of a detector on batches of `object_batches`."""
    from pixpro_tf.data.labelled.detection import NO_OBJECT
    from pixpro_tf.evaluation.coco import Objects, average_precision

    find = _finder(detector)
    truth, found = [], []
    for batch in batches:
        detections = [each.numpy() for each in find(batch["image"])]
        for boxes, labels in zip(batch["boxes"].numpy(), batch["labels"].numpy(), strict=True):
            kept = labels != NO_OBJECT
            truth.append(Objects(boxes[kept], labels[kept]))
        for boxes, labels, scores, count in zip(*detections, strict=True):
            found.append(Objects(boxes[:count], labels[:count], scores[:count]))
    return average_precision(truth, found, class_names)


def _finder(detector: "Detector") -> "Callable[[tf.Tensor], Detections]":
    """From images to `Detections`."""
    import tensorflow as tf

    from pixpro_tf.evaluation.detector import detect

    @tf.function(reduce_retracing=True)
    def find(images: "tf.Tensor") -> "Detections":
        height, width = images.shape[1:3]
        return detect(detector(images), detector.bins(height, width), height, width)

    return find


def results(settings: Settings, result: Result) -> dict:
    """What results.json holds."""
    return {"settings": dataclasses.asdict(settings), **dataclasses.asdict(result.scores)}


def table(settings: Settings, result: Result) -> str:
    """The scores as the command prints them."""
    scores = result.scores
    lines = [f"Average precision in %, {settings.dataset}, {settings.split}:"]
    for name, ap in scores.class_ap.items():
        if ap is not None:
            lines.append(f"  {name:<20}{100 * ap:>7.1f}")
    for name, ap in (("AP", scores.ap), ("AP50", scores.ap_50), ("AP75", scores.ap_75)):
        lines.append(f"  {name:<20}{100 * ap:>7.2f}")
    return "\n".join(lines)


def draw(settings: Settings, result: Result) -> dict[str, Any]:
    """The pictures beside results.json."""
    from pixpro_tf.data.labelled.detection import object_batches
    from pixpro_tf.evaluation import pictures

    examples = result.data.split(settings.split).take(PICTURED)
    (batch,) = object_batches(examples, PICTURED)
    detections = [each.numpy() for each in _finder(result.detector)(batch["image"])]
    scores = result.scores
    figure = pictures.detections_picture(
        {name: value.numpy() for name, value in batch.items()},
        detections,
        result.data.class_names,
        f"{settings.dataset}, {settings.split}: AP {100 * scores.ap:.1f}, AP50 {100 * scores.ap_50:.1f}",
    )
    return {"detections": figure}


main = command(
    Settings,
    "pixpro_tf.evaluation.detection",
    __doc__ or "",
    evaluate=evaluate,
    describe=table,
    results=results,
    draw=draw,
)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
