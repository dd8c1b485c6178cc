"""Positions of bins and positive pairs, compared with plain loops in float64."""

import math

import numpy as np
import pytest
import tensorflow as tf

from pixpro_tf.ops import geometry

BOX_PAIRS = {
    "overlapping": ((0.1, 0.2, 0.7, 0.8), (0.3, 0.1, 0.9, 0.95)),
    "contained": ((0.0, 0.0, 1.0, 1.0), (0.41, 0.33, 0.57, 0.52)),
    "touching": ((0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)),
    "first flipped": ((0.7, 0.2, 0.1, 0.8), (0.3, 0.1, 0.9, 0.95)),
    "second flipped": ((0.1, 0.2, 0.7, 0.8), (0.9, 0.1, 0.3, 0.95)),
    "both flipped": ((0.7, 0.2, 0.1, 0.8), (0.9, 0.1, 0.3, 0.95)),
    "disjoint": ((0.0, 0.0, 0.2, 0.2), (0.6, 0.7, 0.9, 0.9)),
}


def centres_by_loop(box, height, width):
    x0, y0, x1, y1 = box
    return [
        (x0 + (column + 0.5) * (x1 - x0) / width, y0 + (row + 0.5) * (y1 - y0) / height)
        for row in range(height)
        for column in range(width)
    ]


def mask_by_loop(box_1, box_2, height, width, threshold):
    def diagonal(box):
        return math.hypot((box[2] - box[0]) / width, (box[3] - box[1]) / height)

    unit = max(diagonal(box_1), diagonal(box_2))
    return [
        [
            math.dist(first, second) / unit < threshold
            for second in centres_by_loop(box_2, height, width)
        ]
        for first in centres_by_loop(box_1, height, width)
    ]


def boxes(*rows, dtype=tf.float64):
    return tf.constant(rows, dtype)


def flip(box):
    return tf.gather(box, [2, 1, 0, 3], axis=1)


def random_boxes(count, seed):
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.uniform(size=(count, 2, 2)), axis=1).reshape(count, 4)
    flipped = rng.uniform(size=count) < 0.5
    corners[flipped] = corners[flipped][:, [2, 1, 0, 3]]
    return tf.constant(corners)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 7), (3, 5), (5, 3)])
def test_centres_match_loop(height, width):
    box = random_boxes(6, seed=0)
    centres = geometry.bin_centres(box, height, width).numpy()
    assert centres.shape == (6, height, width, 2)
    expected = [centres_by_loop(row, height, width) for row in box.numpy()]
    np.testing.assert_allclose(centres.reshape(6, -1, 2), expected, rtol=0, atol=1e-14)


def test_centres_lie_inside_box():
    box = random_boxes(50, seed=1).numpy()
    centres = geometry.bin_centres(tf.constant(box), 4, 6).numpy()
    low = np.minimum(box[:, :2], box[:, 2:])[:, None, None]
    high = np.maximum(box[:, :2], box[:, 2:])[:, None, None]
    assert np.all(centres > low) and np.all(centres < high)


def test_flip_mirrors_bin_centres():
    box = boxes([0.2, 0.1, 0.8, 0.5], dtype=tf.float32)
    centres = geometry.bin_centres(box, height=3, width=4)
    mirrored = geometry.bin_centres(flip(box), height=3, width=4)
    np.testing.assert_allclose(mirrored, centres[:, :, ::-1], rtol=0, atol=1e-6)
    assert np.abs(mirrored - centres).max() > 0.1


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_dtype_is_that_of_box(dtype):
    box = boxes([0.2, 0.1, 0.8, 0.5], dtype=dtype)
    assert geometry.bin_centres(box, 2, 2).dtype == dtype
    assert geometry.bin_diagonal(box, 2, 2).dtype == dtype


def test_diagonal_of_three_by_four_bin_is_five():
    box = boxes([0.0, 0.0, 0.6, 0.4], [0.6, 0.4, 0.0, 0.0])
    np.testing.assert_allclose(
        geometry.bin_diagonal(box, height=1, width=2), [0.5, 0.5], rtol=1e-15
    )


def test_bin_of_flipped_view_has_negative_width():
    size = geometry.bin_size(boxes([0.9, 0.1, 0.3, 0.5]), height=4, width=3)
    np.testing.assert_allclose(size, [[-0.2, 0.1]], rtol=1e-12)


@pytest.mark.parametrize("name", BOX_PAIRS)
@pytest.mark.parametrize(("height", "width"), [(7, 7), (3, 5)])
@pytest.mark.parametrize("threshold", [0.35, 0.7, 1.3])
def test_mask_matches_double_loop(name, height, width, threshold):
    box_1, box_2 = BOX_PAIRS[name]
    mask = geometry.positive_mask(boxes(box_1), boxes(box_2), height, width, threshold)
    assert mask.dtype == tf.bool and mask.shape == (1, height * width, height * width)
    np.testing.assert_array_equal(mask[0], mask_by_loop(box_1, box_2, height, width, threshold))


def test_each_image_of_batch_has_its_own_mask():
    first, second = zip(*BOX_PAIRS.values(), strict=True)
    mask = geometry.positive_mask(boxes(*first), boxes(*second), 4, 4).numpy()
    expected = [mask_by_loop(*pair, 4, 4, 0.7) for pair in BOX_PAIRS.values()]
    np.testing.assert_array_equal(mask, expected)
    assert len({each.tobytes() for each in mask}) > 3


def test_distant_views_have_no_positive_pairs():
    box_1, box_2 = (boxes(box) for box in BOX_PAIRS["disjoint"])
    assert not np.any(geometry.positive_mask(box_1, box_2, 7, 7))


def test_swapping_views_transposes_mask():
    box_1, box_2 = random_boxes(40, seed=2), random_boxes(40, seed=3)
    mask = geometry.positive_mask(box_1, box_2, 5, 3).numpy()
    swapped = geometry.positive_mask(box_2, box_1, 5, 3).numpy()
    np.testing.assert_array_equal(swapped, mask.transpose(0, 2, 1))
    assert mask.any() and not mask.all()


def test_flipping_second_view_mirrors_its_bins():
    box_1, box_2 = (boxes(box) for box in BOX_PAIRS["overlapping"])
    mask = geometry.positive_mask(box_1, box_2, 3, 4).numpy().reshape(12, 3, 4)
    mirrored = geometry.positive_mask(box_1, flip(box_2), 3, 4).numpy().reshape(12, 3, 4)
    np.testing.assert_array_equal(mirrored, mask[:, :, ::-1])
    assert np.any(mirrored != mask)


def test_view_matches_itself_bin_by_bin():
    # Neighbours of a square bin are 1/sqrt(2) = 0.707 diagonals away, which the threshold of 0.7 just excludes.
    box = boxes([0.1, 0.2, 0.7, 0.8])
    np.testing.assert_array_equal(geometry.positive_mask(box, box, 7, 7)[0], np.eye(49, dtype=bool))


def test_larger_diagonal_is_unit_of_distance():
    # Bins of 0.3 x 0.4 and of 0.03 x 0.04 are 0.25 apart: half a large diagonal, or five small ones.
    large = boxes([0.0, 0.0, 0.3, 0.4])
    small = boxes([0.285, 0.38, 0.315, 0.42])
    assert bool(geometry.positive_mask(large, small, 1, 1, 0.51)[0, 0, 0])
    assert not bool(geometry.positive_mask(large, small, 1, 1, 0.49)[0, 0, 0])


def test_threshold_is_exclusive():
    # Bins of 0.375 x 0.5 with a diagonal of 0.625 are shifted by half a bin: 0.5 diagonals, exact in binary.
    box_1 = boxes([0.0, 0.0, 0.75, 1.0], dtype=tf.float32)
    box_2 = boxes([0.1875, 0.25, 0.9375, 1.25], dtype=tf.float32)
    at = geometry.positive_mask(box_1, box_2, 2, 2, 0.5).numpy()[0]
    above = geometry.positive_mask(box_1, box_2, 2, 2, 0.501).numpy()[0]
    assert not at.diagonal().any()
    assert above.diagonal().all()


def test_may_meet_includes_all_positive_pairs():
    box_1, box_2 = random_boxes(200, seed=7), random_boxes(200, seed=8)
    bins_1, bins_2 = (geometry.bins_of(box, 3, 4) for box in (box_1, box_2))
    unit = tf.maximum(bins_1.diagonal, bins_2.diagonal)[:, None]
    found = []
    for one in zip(bins_1.centres[:, :4], bins_2.centres[:, -4:], unit, strict=True):
        found.append([bool(geometry.may_meet(*one, 0.7)), np.any(geometry.same_place(*one, 0.7))])
    may, do = np.array(found).T
    assert np.all(may[do])
    # Most bins without a positive pair are recognised.
    assert np.sum(do) > 0 and np.sum(may & ~do) < 0.1 * np.sum(~do)
