"""Tests of segmentation scores against Keras' metric and counts in NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from pixpro_tf.evaluation.segmentation.scores import SegmentationScores, count_pixels
from pixpro_tf.evaluation.segmentation.segmenter import score


def random_pixels(num_classes=5, shape=(3, 20, 30), seed=0):
    rng = np.random.default_rng(seed)
    masks = rng.integers(0, num_classes, shape)
    predictions = np.where(
        rng.uniform(size=shape) < 0.6, masks, rng.integers(0, num_classes, shape)
    )
    return masks, predictions


def test_pixel_counts_match_numpy_without_ignored_pixels():
    masks, predictions = random_pixels()
    masks[0, :5] = 255
    expected = np.zeros([5, 5], int)
    for truth, predicted in zip(masks.flat, predictions.flat, strict=True):
        if truth != 255:
            expected[truth, predicted] += 1
    found = count_pixels(tf.constant(masks, tf.uint8), tf.constant(predictions), 5)
    assert found.dtype == tf.int64
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("absent", [None, 4])
def test_mean_iou_matches_keras(absent):
    masks, predictions = random_pixels()
    if absent is not None:
        masks, predictions = masks % absent, predictions % absent
    metric = tf.keras.metrics.MeanIoU(5)
    metric.update_state(masks, predictions)
    scores = SegmentationScores(count_pixels(masks, predictions, 5).numpy())
    assert scores.mean_iou == pytest.approx(float(metric.result()), abs=1e-6)


def test_scores_of_a_confusion_matrix_match_values_by_hand():
    # Class 0: 3 of 5 predicted, 1 false. Class 1: 2 of 3 predicted, 1 false. Class 2 is only predicted, and class 3 does not occur.
    confusion = np.array([[3, 1, 0, 0], [1, 2, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    confusion[0, 2] = 1
    scores = SegmentationScores(confusion)
    np.testing.assert_allclose(scores.class_iou, [3 / 6, 2 / 4, 0, np.nan])
    assert scores.mean_iou == pytest.approx(1 / 3)
    assert scores.pixel_accuracy == pytest.approx(5 / 8)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_a_split_is_scored_over_all_its_pixels(batch_size):
    # Two images of four pixels. Class 0: 3 hits, 1 missed, 1 false. Class 1: 2 hits, 1 missed, 0 false. Class 2: 1 false.
    masks = np.array([[[0, 0], [0, 0]], [[1, 1], [1, 3]]], np.uint8)
    predictions = np.array([[[0, 0], [0, 2]], [[1, 1], [0, 3]]])
    batches = tf.data.Dataset.from_tensor_slices((predictions, masks)).batch(batch_size)
    scores = score(lambda given, training: tf.one_hot(given, 10), batches, 10)
    assert scores.class_iou[:4] == pytest.approx([3 / 5, 2 / 3, 0, 1])
    # Classes in neither masks nor predictions do not lower the mean.
    assert np.isnan(scores.class_iou[4:]).all()
    assert scores.mean_iou == pytest.approx((3 / 5 + 2 / 3 + 0 + 1) / 4)


def test_scores_without_pixels_are_nan():
    scores = SegmentationScores(np.zeros([3, 3], int))
    assert np.isnan(scores.mean_iou) and np.isnan(scores.pixel_accuracy)
