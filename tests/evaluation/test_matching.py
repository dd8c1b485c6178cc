"""Tests of dense matches against a loop, and on views with known matches."""

import numpy as np
import pytest
import tensorflow as tf

from pixpro_tf.evaluation.dense_matching.matching import match
from tests.ops.test_geometry import BOX_PAIRS

HEIGHT, WIDTH, CHANNELS = 4, 5, 6


def by_loop(features, other, box, other_box):
    """Returns `(nearest, seen, right, chance)` of each bin of one image."""
    found = []
    for row in range(HEIGHT):
        for column in range(WIDTH):
            x = box[0] + (column + 0.5) * (box[2] - box[0]) / WIDTH
            y = box[1] + (row + 0.5) * (box[3] - box[1]) / HEIGHT
            # Position of that point in the other view, in bins.
            u = (x - other_box[0]) / (other_box[2] - other_box[0]) * WIDTH
            v = (y - other_box[1]) / (other_box[3] - other_box[1]) * HEIGHT
            seen = 0 <= u <= WIDTH and 0 <= v <= HEIGHT
            query = features[row, column] / np.linalg.norm(features[row, column])
            best, nearest, near = -2.0, None, []
            for index in np.ndindex(HEIGHT, WIDTH):
                cosine = query @ other[index] / np.linalg.norm(other[index])
                within = max(abs(u - index[1] - 0.5), abs(v - index[0] - 0.5)) <= 1
                near.append(within and seen)
                if cosine > best:
                    best, nearest = cosine, index[0] * WIDTH + index[1]
            found.append((nearest, seen, near[nearest], np.mean(near)))
    return [np.array(column) for column in zip(*found, strict=True)]


@pytest.mark.parametrize("pair", BOX_PAIRS)
def test_matches_equal_those_of_a_loop(pair):
    rng = np.random.default_rng(0)
    features, other = rng.normal(size=(2, 1, HEIGHT, WIDTH, CHANNELS))
    box, other_box = (np.array([each]) for each in BOX_PAIRS[pair])
    found = match(*(tf.constant(each) for each in (features, other, box, other_box)))
    nearest, seen, right, chance = by_loop(features[0], other[0], box[0], other_box[0])
    np.testing.assert_array_equal(found.nearest[0], nearest)
    np.testing.assert_array_equal(found.seen[0], seen)
    np.testing.assert_array_equal(found.right[0], right)
    np.testing.assert_allclose(found.chance[0], chance, atol=1e-12)


def test_features_that_encode_positions_match_every_bin():
    """Uses the position of each bin in the image, on a sphere, as its feature; the second view is mirrored and shifted."""
    box, other_box = np.array([[0.0, 0.1, 0.8, 0.9]]), np.array([[0.9, 0.0, 0.1, 0.8]])

    def places(box):
        x = box[0, 0] + (np.arange(WIDTH) + 0.5) / WIDTH * (box[0, 2] - box[0, 0])
        y = box[0, 1] + (np.arange(HEIGHT) + 0.5) / HEIGHT * (box[0, 3] - box[0, 1])
        grid = np.stack(np.broadcast_arrays(x[None], y[:, None]), axis=-1)
        return np.concatenate([grid, np.sqrt(4 - np.square(grid).sum(-1, keepdims=True))], -1)[None]

    arrays = (places(box), places(other_box), box, other_box)
    found = match(*(tf.constant(each) for each in arrays))
    assert 0 < np.sum(found.seen) < HEIGHT * WIDTH
    np.testing.assert_array_equal(found.right, found.seen)


def test_constant_features_match_by_chance_only():
    """Matches a view with itself: all bins are matched to the first bin, so it and its three neighbours are right."""
    box = tf.constant([[0.0, 0.0, 1.0, 1.0]])
    ones = tf.ones([1, HEIGHT, WIDTH, CHANNELS])
    found = match(ones, ones, box, box)
    assert np.sum(found.right) == 4
    # The four bins at the corners have 4 near bins, the ten at the edges 6, and the six inside 9.
    expected = (4 * 4 + 10 * 6 + 6 * 9) / 20 / 20
    assert np.mean(found.chance) == pytest.approx(expected, rel=1e-6)
