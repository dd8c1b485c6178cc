import io

import numpy as np
from PIL import Image

from pixpro_tf.training import view_pictures

IDENTICAL = np.array([[0.0, 0.0, 1.0, 1.0]], np.float32)


def picture(box_1, box_2):
    views = np.full([1, 32, 32, 3], 0.5, np.float32)
    figure = view_pictures.matched_views(views, views, box_1, box_2, 3, 0.7)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return np.asarray(Image.open(file).convert("RGB"))


def test_figure_shows_both_views():
    pixels = picture(IDENTICAL, IDENTICAL)
    assert pixels.shape[0] > pixels.shape[1] > 100


def test_only_matched_bins_are_marked():
    disjoint = (
        np.array([[0.0, 0.0, 0.2, 0.2]], np.float32),
        np.array([[0.7, 0.7, 1, 1]], np.float32),
    )
    matched = picture(IDENTICAL, IDENTICAL)
    assert len(np.unique(matched.reshape(-1, 3), axis=0)) > len(
        np.unique(picture(*disjoint).reshape(-1, 3), axis=0)
    )


def test_pairs_are_mutual_nearest_neighbours():
    positives = np.array([[True, True], [True, False]])
    centres_1 = np.array([[0.0, 0.0], [1.0, 0.0]])
    centres_2 = np.array([[0.1, 0.0], [0.6, 0.0]])
    assert view_pictures._nearest_pairs(positives, centres_1, centres_2) == [(0, 0)]


def test_flipped_view_pairs_mirrored_bins():
    from pixpro_tf.ops import geometry

    box = IDENTICAL
    flipped = IDENTICAL[:, [2, 1, 0, 3]]
    positives = geometry.positive_mask(box, flipped, 1, 3, 0.7).numpy()[0]
    centres = [geometry.bin_centres(b, 1, 3).numpy().reshape(-1, 2) for b in (box, flipped)]
    assert view_pictures._nearest_pairs(positives, *centres) == [(0, 2), (1, 1), (2, 0)]
