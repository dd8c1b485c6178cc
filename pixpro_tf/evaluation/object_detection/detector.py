"""A small anchor-free detector: an FPN and a head of the kind of FCOS on a backbone."""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from pixpro_tf.backbones.fpn import Neck
from pixpro_tf.backbones.resnet import ResNet
from pixpro_tf.data.labelled.detection import NO_OBJECT
from pixpro_tf.data.views.photometric import normalize
from pixpro_tf.layers.convolution import Convolution
from pixpro_tf.layers.heads import DenseHead

FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2.0
# A bin looks for an object whose middle is this many bins away at most, along both axes.
CENTRE_RADIUS = 1.5
# The largest distance from a bin's centre to a side of its object, in bins: of a level from half of this up to it, of the finest from 0,
# of the coarsest without end. FCOS has 8, for images whose sides are hundreds of pixels.
_REACH_IN_BINS = 4
# Share of bins that hold an object before anything is learnt.
_PRIOR = 0.01
_FAR = 1e8


class Predictions(NamedTuple):
    """Of all bins of all levels, P of them, finest level first, row-major.

    Attributes:
        classes: logits float `[B, P, K]`.
        sides: float `[B, P, 4]`, distances from a bin's centre to (top, left, bottom, right) of its object in pixels, above 0.
        centredness: logits float `[B, P]`.
    """

    classes: tf.Tensor
    sides: tf.Tensor
    centredness: tf.Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Bins:
    """The bins of all levels for one size of images.

    Attributes:
        centres: float `[P, 2]`, (y, x) in pixels.
        strides: float `[P]`, in pixels.
        smallest, largest: float `[P]`, in pixels, of the largest distance from a bin's centre to a side of its object.
    """

    centres: tf.Tensor
    strides: tf.Tensor
    smallest: tf.Tensor
    largest: tf.Tensor


class Detector(tf.keras.Model):
    """Backbone, FPN, a tower for classes and one for boxes that all levels share.

    Args:
        backbone: of output stride 32.
        num_classes: K.
        levels: of the FPN, as ("p3", "p4", "p5").
        channels: of every level.
        head_layers: 3x3 convolutions of each tower.
        neck: that was pre-trained with the backbone; its FPN is taken in the place of a new one, and its dense head, if it has one, is
            what both towers start from. `levels` and `channels` are then its own.

    Call with images uint8 or float `[B, H, W, 3]` in 0..255; returns `Predictions`.

    Source: Tian et al., ICCV 2019 (FCOS, https://arxiv.org/abs/1904.01355), with the centre sampling and the centredness beside the boxes
        of its later version, and towers without group normalisation, so that pre-trained ones fit.
    """

    def __init__(
        self,
        backbone: ResNet,
        num_classes: int,
        levels: Sequence[str] = ("p3", "p4", "p5"),
        channels: int = 64,
        head_layers: int = 2,
        neck: Neck | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.num_classes = num_classes
        pretrained_head = None
        if neck is not None:
            levels, channels = neck.levels, neck.fpn.channels
            pretrained_head = neck.dense_head
            self.fpn = neck.fpn
        else:
            self.fpn = Neck(levels, channels, backbone.layout).fpn
        if pretrained_head is not None:
            head_layers = pretrained_head.num_layers
        self.levels = tuple(levels)
        self.towers = [
            DenseHead(channels, head_layers, name=name) for name in ("class_tower", "box_tower")
        ]
        self.classify = Convolution(
            num_classes,
            3,
            use_bias=True,
            kernel_initializer=tf.keras.initializers.RandomNormal(stddev=0.01),
            name="classify",
        )
        self.locate = Convolution(
            4 + 1,
            3,
            use_bias=True,
            kernel_initializer=tf.keras.initializers.RandomNormal(stddev=0.01),
            name="locate",
        )
        self.scales = [
            self.add_weight(name=f"scale_{level}", shape=[], initializer="ones")
            for level in self.levels
        ]
        self(tf.zeros([1, 64, 64, 3]))
        self.classify.bias.assign(tf.fill([num_classes], -math.log((1 - _PRIOR) / _PRIOR)))
        if pretrained_head is not None:
            for tower in self.towers:
                for variable, value in zip(tower.variables, pretrained_head.variables, strict=True):
                    variable.assign(value)

    def call(self, images: tf.Tensor, training: bool = False) -> Predictions:
        maps = self.backbone(normalize(tf.cast(images, tf.float32) / 255.0), training=training)
        pyramid = self.fpn(maps, training=training)
        parts = []
        for level, scale in zip(self.levels, self.scales, strict=True):
            of_classes, of_boxes = (tower(pyramid[level]) for tower in self.towers)
            located = self.locate(of_boxes)
            sides = tf.exp(scale * located[..., :4]) * _stride_of(level)
            each = (self.classify(of_classes), sides, located[..., 4:])
            batch = tf.shape(images)[0]
            parts.append([tf.reshape(part, [batch, -1, part.shape[-1]]) for part in each])
        classes, sides, centredness = (
            tf.concat(level_parts, axis=1) for level_parts in zip(*parts, strict=True)
        )
        return Predictions(classes, sides, centredness[..., 0])

    def bins(self, height: int, width: int) -> Bins:
        """The bins that predictions of images `[B, height, width, 3]` are of."""
        columns = []
        for index, level in enumerate(self.levels):
            stride = _stride_of(level)
            rows, cols = -(-height // stride), -(-width // stride)
            y, x = tf.meshgrid(tf.range(rows), tf.range(cols), indexing="ij")
            centres = tf.cast(tf.reshape(tf.stack([y, x], axis=-1), [-1, 2]), tf.float32)
            count = rows * cols
            smallest = 0.0 if index == 0 else _REACH_IN_BINS * stride / 2
            largest = _FAR if index + 1 == len(self.levels) else float(_REACH_IN_BINS * stride)
            columns.append(
                (
                    (centres + 0.5) * stride,
                    tf.fill([count], float(stride)),
                    tf.fill([count], smallest),
                    tf.fill([count], largest),
                )
            )
        return Bins(*(tf.concat(column, axis=0) for column in zip(*columns, strict=True)))


def _stride_of(level: str) -> int:
    return 2 ** int(level[1:])


class Targets(NamedTuple):
    """What the bins should predict.

    Attributes:
        labels: int64 `[B, P]`, `NO_OBJECT` where there is none.
        sides: float `[B, P, 4]`, see `Predictions`; only where there is an object.
        centredness: float `[B, P]` in [0, 1]; 0 where there is no object.
    """

    labels: tf.Tensor
    sides: tf.Tensor
    centredness: tf.Tensor


def assign(bins: Bins, boxes: tf.Tensor, labels: tf.Tensor) -> Targets:
    """Gives each bin the smallest of the objects that it may predict.

    That are those which contain its centre, whose middle is near (`CENTRE_RADIUS`), and whose size is the level's.

    Args:
        bins: of the images.
        boxes: float `[B, M, 4]`, (y0, x0, y1, x1) in pixels.
        labels: int64 `[B, M]`, `NO_OBJECT` in rows that do not count.
    """
    centres = bins.centres[None, :, None]
    first, last = boxes[:, None, :, :2], boxes[:, None, :, 2:]
    sides = tf.concat([centres - first, last - centres], axis=-1)
    reach = tf.reduce_max(sides, axis=-1)
    off_centre = tf.reduce_max(tf.abs(centres - (first + last) / 2), axis=-1)
    allowed = (
        (tf.reduce_min(sides, axis=-1) > 0)
        & (off_centre <= CENTRE_RADIUS * bins.strides[:, None])
        & (reach >= bins.smallest[:, None])
        & (reach <= bins.largest[:, None])
        & (labels[:, None] != NO_OBJECT)
    )
    area = tf.reduce_prod(boxes[..., 2:] - boxes[..., :2], axis=-1)[:, None]
    area = tf.where(allowed, area, _FAR)
    chosen = tf.argmin(area, axis=-1)
    has_object = tf.reduce_any(allowed, axis=-1)
    sides = tf.gather(sides, chosen, axis=2, batch_dims=2)
    centredness = tf.sqrt(_evenness(sides, 0, 2) * _evenness(sides, 1, 3))
    return Targets(
        tf.where(has_object, tf.gather(labels, chosen, batch_dims=1), NO_OBJECT),
        sides,
        tf.where(has_object, centredness, 0.0),
    )


def _evenness(sides: tf.Tensor, one: int, other: int) -> tf.Tensor:
    pair = tf.gather(sides, [one, other], axis=-1)
    smaller, larger = tf.reduce_min(pair, axis=-1), tf.reduce_max(pair, axis=-1)
    return tf.math.divide_no_nan(tf.maximum(smaller, 0.0), larger)


def detection_loss(predictions: Predictions, targets: Targets) -> tf.Tensor:
    """Focal loss of classes, generalised IoU of boxes weighted by centredness, and cross-entropy of centredness; a scalar.

    Source: Lin et al., ICCV 2017 (https://arxiv.org/abs/1708.02002); Rezatofighi et al., CVPR 2019 (https://arxiv.org/abs/1902.09630);
        Tian et al., ICCV 2019 (https://arxiv.org/abs/1904.01355).
    """
    has_object = tf.cast(targets.labels != NO_OBJECT, tf.float32)
    objects = tf.maximum(tf.reduce_sum(has_object), 1.0)
    truth = tf.one_hot(targets.labels, predictions.classes.shape[-1])
    cross_entropy = tf.nn.sigmoid_cross_entropy_with_logits(truth, predictions.classes)
    probability = tf.sigmoid(predictions.classes)
    missing = truth * (1 - probability) + (1 - truth) * probability
    alpha = truth * FOCAL_ALPHA + (1 - truth) * (1 - FOCAL_ALPHA)
    of_classes = tf.reduce_sum(alpha * missing**FOCAL_GAMMA * cross_entropy) / objects

    weights = targets.centredness
    of_boxes = 1 - generalized_iou(predictions.sides, targets.sides)
    of_boxes = tf.math.divide_no_nan(tf.reduce_sum(weights * of_boxes), tf.reduce_sum(weights))
    of_centres = tf.nn.sigmoid_cross_entropy_with_logits(
        targets.centredness, predictions.centredness
    )
    return of_classes + of_boxes + tf.reduce_sum(has_object * of_centres) / objects


def generalized_iou(sides: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """Generalised intersection over union in [-1, 1] of boxes around one point.

    Args:
        sides, other: float `[..., 4]`, distances to (top, left, bottom, right).

    Source: Rezatofighi et al., CVPR 2019 (https://arxiv.org/abs/1902.09630).
    """

    def area(each: tf.Tensor) -> tf.Tensor:
        return (each[..., 0] + each[..., 2]) * (each[..., 1] + each[..., 3])

    shared = area(tf.maximum(tf.minimum(sides, other), 0.0))
    union = area(sides) + area(other) - shared
    hull = area(tf.maximum(sides, other))
    iou = tf.math.divide_no_nan(shared, union)
    return iou - tf.math.divide_no_nan(hull - union, hull)


class Detections(NamedTuple):
    """The best of each image, at most N, by falling score.

    Attributes:
        boxes: float `[B, N, 4]`, (y0, x0, y1, x1) in pixels, inside the image.
        labels: int64 `[B, N]`.
        scores: float `[B, N]` in [0, 1].
        count: int32 `[B]`, how many there are.
    """

    boxes: tf.Tensor
    labels: tf.Tensor
    scores: tf.Tensor
    count: tf.Tensor


def detect(
    predictions: Predictions,
    bins: Bins,
    height: int,
    width: int,
    *,
    min_score: float = 0.01,
    max_overlap: float = 0.6,
    per_image: int = 100,
) -> Detections:
    """Boxes from predictions, without those of a class that overlap a better one.

    Args:
        predictions, bins: of images `[B, height, width, 3]`.
        height, width: of the images, in pixels.
        min_score: the geometric mean of class and centredness that a box must have.
        max_overlap: IoU of two boxes of one class that both stay.
        per_image: how many stay at most.
    """
    centres = bins.centres[None]
    first = centres - predictions.sides[..., :2]
    last = centres + predictions.sides[..., 2:]
    limit = tf.constant([height, width], tf.float32)
    boxes = tf.concat(
        [tf.clip_by_value(first, 0.0, limit), tf.clip_by_value(last, 0.0, limit)], axis=-1
    )
    scores = tf.sqrt(
        tf.sigmoid(predictions.classes) * tf.sigmoid(predictions.centredness)[..., None]
    )
    found = tf.image.combined_non_max_suppression(
        boxes[:, :, None],
        scores,
        max_output_size_per_class=per_image,
        max_total_size=per_image,
        iou_threshold=max_overlap,
        score_threshold=min_score,
        clip_boxes=False,
    )
    return Detections(
        found.nmsed_boxes,
        tf.cast(found.nmsed_classes, tf.int64),
        found.nmsed_scores,
        found.valid_detections,
    )
