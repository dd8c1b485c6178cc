"""Small anchor-free detector: an FPN and an FCOS-style head on a backbone."""

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
# A bin predicts only objects whose centre is at most this many bins away along both axes.
CENTRE_RADIUS = 1.5
# Limit of the largest distance from a bin's centre to a side of its object, in bins. A level predicts objects from half of this limit up
# to it, the finest level from 0, and the coarsest without a limit. FCOS uses 8, for images whose sides are hundreds of pixels.
_REACH_IN_BINS = 4
# Distance in bins from which predictions grow linearly instead of exponentially. Activations of random weights can be so large that an
# exponential overflows; it is the limit of Faster R-CNN's box regression, 1000 / 16.
_LINEAR_FROM = 62.5
# Probability that a bin contains an object, as predicted before training.
_PRIOR = 0.01
_FAR = 1e8


class Predictions(NamedTuple):
    """Predictions of the P bins of all levels, finest level first, in row-major order.

    Attributes:
        classes: float `[B, P, K]`, logits of the classes.
        sides: float `[B, P, 4]`, distances from a bin's centre to (top, left, bottom, right) of its object in pixels, greater than 0.
        centredness: float `[B, P]`, logits of the centredness.
    """

    classes: tf.Tensor
    sides: tf.Tensor
    centredness: tf.Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Bins:
    """Bins of all levels for one image size.

    Attributes:
        centres: float `[P, 2]`, (y, x) in pixels.
        strides: float `[P]`, in pixels.
        smallest, largest: float `[P]`, limits of the largest distance from a bin's centre to a side of its object, in pixels.
    """

    centres: tf.Tensor
    strides: tf.Tensor
    smallest: tf.Tensor
    largest: tf.Tensor


class Detector(tf.keras.Model):
    """Backbone, FPN, and two towers that all levels share, one for classes and one for boxes.

    Args:
        backbone: backbone with output stride 32.
        num_classes: number of classes, K.
        levels: levels of the FPN, such as ("p3", "p4", "p5").
        channels: number of channels of every level.
        head_layers: number of 3x3 convolutions in each tower.
        neck: neck that was pre-trained with the backbone. Its FPN is used instead of a new one, and its dense head, if it has one,
            initialises both towers. `levels`, `channels` and, with a dense head, `head_layers` are then those of the neck.

    Call with images uint8 or float `[B, H, W, 3]` in 0..255; returns `Predictions`.

    Source: Tian et al., ICCV 2019 (FCOS, https://arxiv.org/abs/1904.01355), with centre sampling and the centredness next to the boxes, as
        in its later version, and without group normalisation in the towers, so that pre-trained weights fit.
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
        maps = self.backbone(
            normalize(tf.cast(images, tf.float32) / 255.0, self.backbone.channels),
            training=training,
        )
        pyramid = self.fpn(maps, training=training)
        parts = []
        for level, scale in zip(self.levels, self.scales, strict=True):
            of_classes, of_boxes = (tower(pyramid[level]) for tower in self.towers)
            located = self.locate(of_boxes)
            sides = _distances(scale * located[..., :4]) * _stride_of(level)
            each = (self.classify(of_classes), sides, located[..., 4:])
            batch = tf.shape(images)[0]
            parts.append([tf.reshape(part, [batch, -1, part.shape[-1]]) for part in each])
        classes, sides, centredness = (
            tf.concat(level_parts, axis=1) for level_parts in zip(*parts, strict=True)
        )
        return Predictions(classes, sides, centredness[..., 0])

    def bins(self, height: int, width: int) -> Bins:
        """Returns the bins of the predictions for images `[B, height, width, 3]`."""
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


def _distances(logarithms: tf.Tensor) -> tf.Tensor:
    """Exponential up to `_LINEAR_FROM`, and its tangent beyond, so that the gradient brings back a box that is far too large."""
    limit = math.log(_LINEAR_FROM)
    return tf.exp(tf.minimum(logarithms, limit)) + _LINEAR_FROM * tf.nn.relu(logarithms - limit)


class Targets(NamedTuple):
    """Targets of the bins.

    Attributes:
        labels: int64 `[B, P]`, classes; `NO_OBJECT` for bins without an object.
        sides: float `[B, P, 4]`, see `Predictions`; valid only for bins with an object.
        centredness: float `[B, P]` in [0, 1]; 0 for bins without an object.
    """

    labels: tf.Tensor
    sides: tf.Tensor
    centredness: tf.Tensor


def assign(bins: Bins, boxes: tf.Tensor, labels: tf.Tensor) -> Targets:
    """Assigns to each bin the smallest of the objects that it may predict.

    A bin may predict objects that contain its centre, whose own centre is near (`CENTRE_RADIUS`), and whose size fits its level.

    Args:
        bins: bins of the images.
        boxes: float `[B, M, 4]`, (y0, x0, y1, x1) in pixels.
        labels: int64 `[B, M]`, classes; `NO_OBJECT` in padding rows.
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
    """Computes the detection loss, a scalar.

    The loss is the sum of the focal loss of the classes, the generalised IoU loss of the boxes weighted by centredness, and the
    cross-entropy of the centredness.

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
    """Computes the generalised intersection over union in [-1, 1] of boxes around the same point.

    Args:
        sides, other: float `[..., 4]`, distances from the point to (top, left, bottom, right).

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
    """Best detections of each image, at most N, by decreasing score.

    Attributes:
        boxes: float `[B, N, 4]`, (y0, x0, y1, x1) in pixels, inside the image.
        labels: int64 `[B, N]`, classes.
        scores: float `[B, N]` in [0, 1].
        count: int32 `[B]`, number of detections.
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
    """Computes boxes from predictions, with non-maximum suppression in each class.

    Args:
        predictions, bins: predictions and bins of images `[B, height, width, 3]`.
        height, width: size of the images in pixels.
        min_score: smallest score of a box, the geometric mean of its class probability and centredness.
        max_overlap: largest IoU of two boxes of one class that are both kept.
        per_image: maximum number of boxes per image.
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
