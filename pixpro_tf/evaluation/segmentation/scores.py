"""Scores of segmentations."""

import dataclasses

import numpy as np
import tensorflow as tf


def count_pixels(masks: tf.Tensor, predictions: tf.Tensor, num_classes: int) -> tf.Tensor:
    """Counts the pixels of each pair of true and predicted class.

    Args:
        masks: integer, any shape; pixels whose value is not in [0, K) are ignored.
        predictions: integer in [0, K), same shape as `masks`.
        num_classes: number of classes, K.

    Returns:
        int64 `[K, K]`; rows are the true classes, columns the predicted ones.
    """
    masks, predictions = (
        tf.reshape(tf.cast(each, tf.int64), [-1]) for each in (masks, predictions)
    )
    counted = (masks >= 0) & (masks < num_classes)
    pairs = tf.boolean_mask(masks * num_classes + predictions, counted)
    length = num_classes * num_classes
    counts = tf.math.bincount(tf.cast(pairs, tf.int32), minlength=length, dtype=tf.int64)
    return tf.reshape(counts, [num_classes, num_classes])


@dataclasses.dataclass(frozen=True, eq=False)
class SegmentationScores:
    """Scores over all pixels of a split.

    Attributes:
        confusion: int64 `[K, K]`, confusion matrix; see `count_pixels`.
    """

    confusion: np.ndarray

    @property
    def class_iou(self) -> np.ndarray:
        """IoU of each class, float64 `[K]` in [0, 1]; NaN for a class in neither masks nor predictions."""
        hits = np.diag(self.confusion)
        union = self.confusion.sum(axis=0) + self.confusion.sum(axis=1) - hits
        return np.divide(hits, union, out=np.full(len(hits), np.nan), where=union > 0)

    @property
    def mean_iou(self) -> float:
        """Mean IoU over the classes in masks or predictions; NaN without pixels."""
        present = self.class_iou[~np.isnan(self.class_iou)]
        return float(present.mean()) if len(present) else float("nan")

    @property
    def pixel_accuracy(self) -> float:
        """Share of the pixels whose class is predicted correctly; NaN without pixels."""
        total = self.confusion.sum()
        return float(np.trace(self.confusion) / total) if total else float("nan")
