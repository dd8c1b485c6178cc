"""The measure that the figures of `scenes` are in."""

import numpy as np
import pytest
import tensorflow as tf

from benchmarks.scenes import class_iou


def test_class_iou_counts_pixels_over_the_whole_split():
    # Two images of four pixels. Class 0: 3 hits, 1 missed, 1 false. Class 1: 2 hits, 1 missed, 0 false. Class 2: never, once false.
    masks = np.array([[[0, 0], [0, 0]], [[1, 1], [1, 3]]], np.uint8)[..., None]
    predictions = np.array([[[0, 0], [0, 2]], [[1, 1], [0, 3]]])
    examples = tf.data.Dataset.from_tensor_slices(
        {"image": predictions.astype(np.uint8)[..., None], "segmentation_mask": masks}
    )

    def segmenter(images):
        """Says of each pixel the class that stands in the image."""
        return tf.one_hot(images[..., 0], 10)

    for batch_size in (1, 2):
        iou = class_iou(examples, segmenter, batch_size)
        assert iou[:4] == pytest.approx([3 / 5, 2 / 3, 0, 1])
        # Classes that neither side has do not lower the mean.
        assert iou[4:] == pytest.approx([1] * 6)
