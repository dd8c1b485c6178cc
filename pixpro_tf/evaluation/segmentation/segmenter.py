"""Heads that predict a class for every pixel from feature maps, with their training and scoring."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from pixpro_tf.backbones.resnet import ResNet
from pixpro_tf.data.labelled.segmentation import IGNORED
from pixpro_tf.evaluation import training_steps
from pixpro_tf.evaluation.segmentation.scores import SegmentationScores, count_pixels
from pixpro_tf.evaluation.sources import maps_of
from pixpro_tf.layers.batch_norm import BatchNorm
from pixpro_tf.layers.convolution import Convolution

Head = Callable[..., tf.Tensor]


class LinearHead(tf.keras.layers.Layer):
    """Linear layer on standardised features.

    Args:
        num_classes: number of classes, K.
        mean, deviation: float `[C]`, mean and standard deviation of the features that it will be trained on.

    Input float `[B, h, w, C]`; output logits `[B, h, w, K]`, zero before training.
    """

    def __init__(self, num_classes: int, mean: np.ndarray, deviation: np.ndarray) -> None:
        # The head is float32 whatever the precision of the network.
        super().__init__(dtype="float32")
        self.num_classes = num_classes
        self.mean = tf.constant(mean, tf.float32)
        # A feature that never varies carries no information; it is set to zero.
        self.scale = tf.math.divide_no_nan(1.0, tf.constant(deviation, tf.float32))
        self.classify = tf.keras.layers.Conv2D(
            num_classes, 1, kernel_initializer="zeros", dtype="float32"
        )

    def build(self, input_shape: tf.TensorShape | Sequence[int | None]) -> None:
        self.classify.build(input_shape)
        super().build(input_shape)

    def call(self, features: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        del training
        return self.classify((features - self.mean) * self.scale)


class FCNHead(tf.keras.layers.Layer):
    """3x3 convolutions with batch norm and ReLU, and a 1x1 classifier.

    Args:
        num_classes: number of classes, K.
        channels: number of channels of the 3x3 convolutions.
        num_layers: number of 3x3 convolutions.

    Input float `[B, h, w, C]`; output logits `[B, h, w, K]`.

    Source: Long et al., CVPR 2015 (https://arxiv.org/abs/1411.4038), with two convolutions, as is usual on dilated ResNets.
    """

    def __init__(
        self, num_classes: int, channels: int = 256, num_layers: int = 2, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.convolutions = [
            Convolution(channels, 3, name=f"conv{i + 1}") for i in range(num_layers)
        ]
        self.norms = [BatchNorm(name=f"bn{i + 1}") for i in range(num_layers)]
        self.classify = tf.keras.layers.Conv2D(
            num_classes, 1, kernel_initializer=tf.keras.initializers.RandomNormal(stddev=0.01)
        )

    def call(self, features: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            features = tf.nn.relu(norm(convolution(features), training=training))
        return self.classify(features)


class Segmenter(tf.keras.Model):
    """Backbone with a segmentation head.

    Args:
        backbone: backbone in float32.
        level: feature map that the head uses, "c2" to "c5".
        head: function from maps to logits.
        trains_backbone: whether the backbone is trained and its batch norm uses the statistics of the batch in training.
        margin: width of the mirrored border in pixels; see `maps_of`.

    Call with images uint8 or float `[B, H, W, 3]` in 0..255; returns logits `[B, h, w, K]`.
    """

    def __init__(
        self, backbone: ResNet, level: str, head: Head, trains_backbone: bool, margin: int = 0
    ) -> None:
        super().__init__()
        backbone.trainable = trains_backbone
        self.backbone = backbone
        self.level = level
        self.head = head
        self.trains_backbone = trains_backbone
        self.margin = margin

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        maps = maps_of(
            self.backbone,
            images,
            self.level,
            training=training and self.trains_backbone,
            margin=self.margin,
        )
        return self.head(maps, training=training)


def pixel_loss(masks: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Computes the mean cross-entropy over the pixels that are not ignored.

    Args:
        masks: uint8 `[B, H, W]`, classes and `IGNORED`.
        logits: float `[B, h, w, K]`, resized to the size of the masks.
    """
    masks = tf.cast(masks, tf.int32)
    counted = masks != IGNORED
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
        tf.where(counted, masks, 0), at_size_of(masks, logits)
    )
    counted = tf.cast(counted, losses.dtype)
    return tf.math.divide_no_nan(tf.reduce_sum(losses * counted), tf.reduce_sum(counted))


def at_size_of(masks: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Resizes logits `[B, h, w, K]` bilinearly to the size of masks `[B, H, W]`, in float32."""
    return tf.image.resize(tf.cast(logits, tf.float32), tf.shape(masks)[1:3])


def train(
    head: Head,
    variables: list[tf.Variable],
    optimizer: tf.keras.optimizers.Optimizer,
    batches: Iterable[tuple[tf.Tensor, tf.Tensor]],
    steps: int,
    weight_decay: float = 0.0,
    folder: str = "",
    print_line: Callable[[str], None] = print,
) -> None:
    """Trains a head, or a whole segmenter.

    Args:
        head: layer or model from inputs and `training=True` to logits.
        variables: variables to train.
        optimizer: optimizer that has not been used yet.
        batches: `steps` or more batches of inputs and masks, always in the same order.
        steps: number of steps.
        weight_decay: weight decay of variables with more than one dimension, added to their gradients.
        folder, print_line: see `training_steps.run`.

    Raises:
        DivergedError: if the loss is not finite.
    """
    optimizer.build(variables)

    @tf.function(reduce_retracing=True)
    def step(inputs: tf.Tensor, masks: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = pixel_loss(masks, head(inputs, training=True))
        # Stages above the level that the head uses have no gradient.
        pairs = [
            (gradient + weight_decay * variable if variable.shape.rank > 1 else gradient, variable)
            for gradient, variable in zip(tape.gradient(loss, variables), variables, strict=True)
            if gradient is not None
        ]
        optimizer.apply_gradients(pairs)
        return loss

    trained = {"head": head, "optimizer": optimizer}
    training_steps.run(step, batches, steps, trained, folder, print_line)


def score(
    head: Head, batches: Iterable[tuple[tf.Tensor, tf.Tensor]], num_classes: int
) -> SegmentationScores:
    """Scores a head, or a whole segmenter, on batches of inputs and masks."""

    @tf.function(reduce_retracing=True)
    def count(inputs: tf.Tensor, masks: tf.Tensor) -> tf.Tensor:
        return count_pixels(masks, predict(head, inputs, masks), num_classes)

    confusion = sum(count(inputs, masks).numpy() for inputs, masks in batches)
    return SegmentationScores(confusion)


def predict(head: Head, inputs: tf.Tensor, masks: tf.Tensor) -> tf.Tensor:
    """Predicts the class of every pixel, int64 `[B, H, W]`, at the size of the masks."""
    return tf.argmax(at_size_of(masks, head(inputs, training=False)), axis=-1)
