"""Tests of each part of the detector against values derived by hand."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from pixpro_tf.backbones import resnet
from pixpro_tf.backbones.fpn import Neck
from pixpro_tf.data.labelled.detection import NO_OBJECT, flipped
from pixpro_tf.evaluation.object_detection import detector
from pixpro_tf.evaluation.object_detection.detector import Bins, Detector, Predictions, Targets


@pytest.fixture(scope="module")
def small():
    tf.keras.utils.set_random_seed(0)
    return Detector(resnet.build("resnet10"), 3, channels=8, head_layers=1)


def bins_of(centres, stride=8.0, smallest=0.0, largest=1e8):
    count = len(centres)
    return Bins(
        tf.constant(centres, tf.float32),
        tf.fill([count], stride),
        tf.fill([count], smallest),
        tf.fill([count], largest),
    )


def test_bins_match_the_predictions_and_their_positions(small):
    bins = small.bins(64, 96)
    predictions = small(tf.zeros([2, 64, 96, 3], tf.uint8))
    count = 8 * 12 + 4 * 6 + 2 * 3
    assert predictions.classes.shape == [2, count, 3]
    assert predictions.sides.shape == [2, count, 4]
    assert predictions.centredness.shape == [2, count]
    assert bins.centres.shape == [count, 2]
    np.testing.assert_array_equal(bins.centres[13], [12.0, 12.0])
    np.testing.assert_array_equal(bins.centres[8 * 12], [8.0, 8.0])
    np.testing.assert_array_equal(bins.centres[-1], [48.0, 80.0])
    np.testing.assert_array_equal(np.unique(bins.strides), [8.0, 16.0, 32.0])


def test_levels_cover_all_object_sizes_without_a_gap(small):
    bins = small.bins(64, 64)
    pairs = sorted(set(zip(bins.smallest.numpy(), bins.largest.numpy(), strict=True)))
    assert pairs[0][0] == 0 and pairs[-1][1] == 1e8
    for (_, end), (start, _) in itertools.pairwise(pairs):
        assert end == start


def test_an_untrained_detector_predicts_few_objects(small):
    image = tf.constant(np.random.default_rng(0).integers(0, 255, [1, 64, 64, 3], np.uint8))
    probability = tf.sigmoid(small(image).classes)
    np.testing.assert_allclose(tf.reduce_mean(probability), 0.01, rtol=0.3)


def test_distances_are_exponential_up_to_a_limit_and_then_linear_with_the_same_slope():
    logarithms = tf.constant([-3.0, 0.0, 4.0, np.log(62.5) + 1, 1e4])
    with tf.GradientTape() as tape:
        tape.watch(logarithms)
        distances = detector._distances(logarithms)
    np.testing.assert_allclose(distances[:3], np.exp([-3, 0, 4]), rtol=1e-6)
    np.testing.assert_allclose(distances[3:], [125, 62.5 * (1e4 + 1 - np.log(62.5))], rtol=1e-5)
    slopes = tape.gradient(distances, logarithms)
    np.testing.assert_allclose(slopes, [np.exp(-3), 1, np.exp(4), 62.5, 62.5], rtol=1e-6)


def test_maps_with_large_values_give_a_finite_loss_and_gradient():
    """Keras' ResNet-50 with random weights has them: distances of 1e26 pixels ended training after a few steps."""
    tf.keras.utils.set_random_seed(0)
    found = Detector(resnet.build("resnet10"), 3, channels=8, head_layers=1)
    for lateral in found.fpn.laterals.values():
        lateral.kernel.assign(1e3 * lateral.kernel)
    bins = found.bins(64, 64)
    boxes = tf.constant([[[8.0, 8.0, 40.0, 40.0]]])
    targets = detector.assign(bins, boxes, tf.zeros([1, 1], tf.int64))
    images = tf.random.stateless_uniform([1, 64, 64, 3], [0, 1], 0.0, 255.0)
    with tf.GradientTape() as tape:
        predictions = found(images, training=True)
        loss = detector.detection_loss(predictions, targets)
    # The exponential of these would not be finite.
    assert tf.reduce_max(predictions.sides) > 62.5 * 90 * 8
    for value in (loss, *tape.gradient(loss, found.trainable_variables)):
        assert np.all(np.isfinite(value))


def test_a_bin_is_assigned_the_smallest_object_around_it():
    # A large object, a small one in its centre, and a padding row.
    boxes = tf.constant(
        [[[0.0, 0.0, 40.0, 80.0], [12.0, 32.0, 28.0, 48.0], [0.0, 0.0, 99.0, 99.0]]]
    )
    labels = tf.constant([[2, 1, NO_OBJECT]], tf.int64)
    bins = bins_of([(20.0, 40.0), (30.0, 36.0), (20.0, 60.0), (90.0, 90.0)])
    targets = detector.assign(bins, boxes, labels)
    # Bins in both objects; only in the large one; too far from its centre; in none that counts.
    np.testing.assert_array_equal(targets.labels, [[1, 2, NO_OBJECT, NO_OBJECT]])
    np.testing.assert_array_equal(targets.sides[0, 0], [8.0, 8.0, 8.0, 8.0])
    np.testing.assert_array_equal(targets.sides[0, 1], [30.0, 36.0, 10.0, 44.0])
    expected = [1.0, np.sqrt(10 / 30 * 36 / 44), 0.0, 0.0]
    np.testing.assert_allclose(targets.centredness[0], expected, rtol=1e-6)


def test_a_level_ignores_objects_of_other_sizes():
    boxes, labels = tf.constant([[[0.0, 0.0, 40.0, 40.0]]]), tf.constant([[0]], tf.int64)
    for smallest, largest, label in ((0.0, 16.0, -1), (16.0, 32.0, 0), (32.0, 1e8, -1)):
        targets = detector.assign(bins_of([(20.0, 20.0)], 8.0, smallest, largest), boxes, labels)
        assert targets.labels.numpy() == [[label]]


def test_generalized_iou_matches_areas_computed_by_hand():
    sides = tf.constant([[4.0, 4.0, 4.0, 4.0], [2.0, 2.0, 2.0, 2.0], [4.0, 1.0, 1.0, 1.0]])
    other = tf.constant([[4.0, 4.0, 4.0, 4.0], [4.0, 4.0, 4.0, 4.0], [1.0, 4.0, 1.0, 1.0]])
    # Equal boxes; one box inside the other; two boxes of 5 x 2 that share 2 x 2, in a hull of 5 x 5.
    expected = [1.0, 16 / 64, 4 / 16 - (25 - 16) / 25]
    np.testing.assert_allclose(detector.generalized_iou(sides, other), expected, rtol=1e-6)


def test_the_loss_is_the_sum_of_its_three_parts():
    classes = np.array([[[0.3, -1.0], [2.0, 0.1], [-3.0, -0.5]]])
    sides = np.array([[[2.0, 2.0, 2.0, 2.0], [4.0, 3.0, 2.0, 1.0], [1.0, 1.0, 1.0, 1.0]]])
    centredness = np.array([[0.2, -0.4, 0.9]])
    labels = np.array([[1, NO_OBJECT, 0]])
    truth_sides = np.array([[[4.0, 4.0, 4.0, 4.0], [9.0, 9.0, 9.0, 9.0], [1.0, 1.0, 1.0, 3.0]]])
    truth_centredness = np.array([[0.5, 0.0, 0.25]])

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    of_classes = 0.0
    for i in range(3):
        for k in range(2):
            p = sigmoid(classes[0, i, k])
            if labels[0, i] == k:
                of_classes -= 0.25 * (1 - p) ** 2 * np.log(p)
            else:
                of_classes -= 0.75 * p**2 * np.log(1 - p)
    iou = np.array([16 / 64, 4 / 8])
    of_boxes = (0.5 * (1 - iou[0]) + 0.25 * (1 - iou[1])) / 0.75
    p, t = sigmoid(centredness[0, [0, 2]]), truth_centredness[0, [0, 2]]
    of_centres = -(t * np.log(p) + (1 - t) * np.log(1 - p)).sum()
    expected = of_classes / 2 + of_boxes + of_centres / 2

    loss = detector.detection_loss(
        Predictions(*(tf.constant(x, tf.float32) for x in (classes, sides, centredness))),
        Targets(
            tf.constant(labels, tf.int64),
            tf.constant(truth_sides, tf.float32),
            tf.constant(truth_centredness, tf.float32),
        ),
    )
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_images_without_objects_have_a_finite_loss(small):
    predictions = small(tf.zeros([1, 64, 64, 3]))
    targets = detector.assign(
        small.bins(64, 64), tf.zeros([1, 2, 4]), tf.fill([1, 2], tf.constant(NO_OBJECT, tf.int64))
    )
    assert np.isfinite(detector.detection_loss(predictions, targets))


def test_perfect_predictions_recover_the_objects():
    boxes = np.array([[[4.0, 4.0, 28.0, 20.0], [30.0, 34.0, 62.0, 60.0]]], np.float32)
    labels = tf.constant([[1, 0]], tf.int64)
    tf.keras.utils.set_random_seed(0)
    model = Detector(resnet.build("resnet10"), 2, channels=8, head_layers=1)
    bins = model.bins(64, 64)
    targets = detector.assign(bins, tf.constant(boxes), labels)
    large = 20.0
    predictions = Predictions(
        large * (2 * tf.one_hot(targets.labels, 2) - 1),
        targets.sides,
        tf.math.log(targets.centredness + 1e-6) - tf.math.log(1 - targets.centredness + 1e-6),
    )
    found = detector.detect(predictions, bins, 64, 64)
    count = int(found.count[0])
    assert count == 2
    order = np.argsort(found.labels[0, :count])[::-1]
    np.testing.assert_allclose(found.boxes[0].numpy()[order], boxes[0], atol=1e-4)
    np.testing.assert_array_equal(found.labels[0].numpy()[order], [1, 0])


def test_overlapping_boxes_of_a_class_are_reduced_to_the_best():
    """The first two boxes have an IoU of 0.8, the third has one of 0.4 with them; the fourth is the first one in another class."""
    sides = [
        [20.0, 5.0, 0.0, 5.0],
        [16.0, 5.0, 0.0, 5.0],
        [8.0, 5.0, 0.0, 5.0],
        [20.0, 5.0, 0.0, 5.0],
    ]
    probabilities = np.array([[0.9, 1e-6], [0.5, 1e-6], [0.4, 1e-6], [1e-6, 0.8]])
    centredness = np.array([0.5, 0.9, 0.6, 0.5])

    def logits(values):
        return tf.constant(np.log(values / (1 - values))[None], tf.float32)

    predictions = Predictions(logits(probabilities), tf.constant([sides]), logits(centredness))
    found = detector.detect(predictions, bins_of([(20.0, 16.0)] * 4), 32, 32)
    assert int(found.count[0]) == 3
    # The score is the geometric mean of class probability and centredness, by which the second box is ahead of the first.
    scores = np.sqrt([0.5 * 0.9, 0.8 * 0.5, 0.4 * 0.6])
    scores[0] = max(scores[0], np.sqrt(0.9 * 0.5))
    np.testing.assert_allclose(found.scores[0, :3], scores, rtol=1e-5)
    np.testing.assert_array_equal(found.labels[0, :3], [0, 1, 0])
    np.testing.assert_allclose(found.boxes[0, 2], [12.0, 11.0, 20.0, 21.0])


def test_boxes_are_clipped_to_the_image():
    bins = bins_of([(4.0, 4.0)])
    predictions = Predictions(
        tf.constant([[[5.0]]]), tf.constant([[[9.0, 9.0, 90.0, 9.0]]]), tf.constant([[5.0]])
    )
    found = detector.detect(predictions, bins, 32, 16)
    np.testing.assert_allclose(found.boxes[0, 0], [0.0, 0.0, 32.0, 13.0])


def test_a_pretrained_neck_is_used_with_its_head():
    tf.keras.utils.set_random_seed(0)
    backbone = resnet.build("resnet10")
    neck = Neck(["p3", "p4", "p5"], 8, head_layers=2)
    neck(backbone(tf.zeros([1, 64, 64, 3])))
    model = Detector(backbone, 3, channels=99, head_layers=9, neck=neck)
    assert model.fpn is neck.fpn
    for tower in model.towers:
        assert tower.num_layers == 2
        for variable, pretrained in zip(tower.variables, neck.dense_head.variables, strict=True):
            assert variable is not pretrained
            np.testing.assert_array_equal(variable, pretrained)


def test_a_flip_moves_the_boxes_with_the_image():
    image = np.zeros([8, 10, 3], np.uint8)
    image[2:4, 1:5] = 255
    example = {"image": tf.constant(image), "boxes": tf.constant([[2.0, 1.0, 4.0, 5.0]])}
    mirrored = flipped(example)
    y0, x0, y1, x1 = mirrored["boxes"].numpy()[0].astype(int)
    assert np.all(mirrored["image"].numpy()[y0:y1, x0:x1] == 255)
    assert np.sum(mirrored["image"]) == (y1 - y0) * (x1 - x0) * 3 * 255
