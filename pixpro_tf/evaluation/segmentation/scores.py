"""What segmentations are scored by."""

import dataclasses

import numpy as np
import tensorflow as tf


def count_pixels(masks: tf.Tensor, predictions: tf.Tensor, num_classes: int) -> tf.Tensor:
    """How many pixels of each class were taken for each.

    Args:
        masks: integer, any shape; what is no class in [0, K) does not count.
        predictions: integer in [0, K), of the same shape.
        num_classes: K.

    Returns:
        int64 `[K, K]`, rows are classes of the mask, columns those predicted.
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
    """Scores over all pixels of a split together.

    Attributes:
        confusion: int64 `[K, K]`, see `count_pixels`.
    """

    confusion: np.ndarray

    @property
    def class_iou(self) -> np.ndarray:
        """float64 `[K]` in [0, 1], intersection over union; NaN for a class that neither side has."""
        hits = np.diag(self.confusion)
        union = self.confusion.sum(axis=0) + self.confusion.sum(axis=1) - hits
        return np.divide(hits, union, out=np.full(len(hits), np.nan), where=union > 0)

    @property
    def mean_iou(self) -> float:
        """Mean over the classes that either side has; NaN if there is no pixel."""
        present = self.class_iou[~np.isnan(self.class_iou)]
        return float(present.mean()) if len(present) else float("nan")

    @property
    def pixel_accuracy(self) -> float:
        """Share of the pixels that were given their class; NaN if there is none."""
        total = self.confusion.sum()
        return float(np.trace(self.confusion) / total) if total else float("nan")
