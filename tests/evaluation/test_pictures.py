"""Tests of the layout of the evaluation figures."""

import os

import numpy as np

from pixpro_tf.data.labelled.segmentation import IGNORED
from pixpro_tf.evaluation import pictures
from pixpro_tf.evaluation.settings import save_figures

CLASSES = ("sky", "land", "sea")


def test_rows_of_the_confusion_matrix_are_the_true_classes():
    confusion = np.array([[3, 1, 0], [0, 5, 0], [0, 0, 0]])
    figure = pictures.confusion_picture(confusion, CLASSES, "title")
    axes = figure.axes[0]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("truth", "predicted")
    assert [label.get_text() for label in axes.get_yticklabels()] == list(CLASSES)
    # Position (column, row) and percentage of each cell that has one.
    fields = {text.get_position(): text.get_text() for text in axes.texts}
    assert fields == {(0, 0): "75", (1, 0): "25", (1, 1): "100"}
    np.testing.assert_array_equal(axes.images[0].get_array()[0], [75, 25, 0])


def test_rows_show_images_then_truth_then_predictions():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, [2, 4, 4, 3], np.uint8)
    masks = rng.integers(0, 3, [2, 4, 4])
    predictions = (masks + 1) % 3
    masks[:, 0] = IGNORED
    figure = pictures.masks_picture(
        images, {"truth": masks, "predicted": predictions}, CLASSES, "title"
    )
    panels = [axes.images[0].get_array() for axes in figure.axes]
    colours = pictures.class_colours(3)
    for index in range(2):
        np.testing.assert_array_equal(panels[index], images[index])
        np.testing.assert_array_equal(panels[2 + index][0], np.ones([4, 3]))
        np.testing.assert_array_equal(panels[2 + index][1:], colours[masks[index, 1:]])
        np.testing.assert_array_equal(panels[4 + index], colours[predictions[index]])
    assert [figure.axes[row].get_ylabel() for row in (0, 2, 4)] == ["image", "truth", "predicted"]


def test_rows_of_boxes_have_their_names_and_boxes():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, [2, 8, 8, 3], np.uint8)
    batch = {
        "boxes": np.array([[[1, 2, 4, 6], [0, 0, 0, 0]]] * 2, np.float32),
        "labels": np.array([[2, -1]] * 2),
    }
    found = {
        "boxes": np.array([[[0, 0, 3, 3], [1, 1, 5, 5], [2, 2, 6, 6]]] * 2, np.float32),
        "labels": np.array([[0, 1, 1]] * 2),
        "scores": np.array([[0.9, 0.1, 0.8], [0.9, 0.8, 0.7]]),
        "count": np.array([2, 3]),
    }
    rows = {"truth": pictures.true_boxes(batch), "mine": pictures.found_boxes(found)}
    figure = pictures.boxes_picture(images, rows, CLASSES, "title")
    assert [figure.axes[place].get_ylabel() for place in (0, 2)] == ["truth", "mine"]
    # Each box is two rectangles; boxes with a low score, and those after the last detection, are not shown.
    assert [len(axes.patches) // 2 for axes in figure.axes] == [1, 1, 1, 3]
    rectangle = figure.axes[0].patches[0]
    assert (*rectangle.get_xy(), rectangle.get_width(), rectangle.get_height()) == (1.5, 0.5, 4, 3)
    assert [text.get_text() for text in figure.legends[0].texts] == list(CLASSES)


def test_the_best_eight_boxes_of_an_image_are_shown():
    scores = np.random.default_rng(0).permutation(np.linspace(0.25, 0.95, 29))[None]
    found = {
        "boxes": np.arange(29 * 4, dtype=np.float32).reshape(1, 29, 4),
        "labels": np.arange(29)[None],
        "scores": scores,
        "count": np.array([28]),
    }
    ((boxes, labels),) = pictures.found_boxes(found)
    assert sorted(labels) == sorted(np.argsort(scores[0, :28])[-8:])
    np.testing.assert_array_equal(boxes[:, 0], 4 * labels)


def test_scores_are_dots_in_the_order_of_the_backbones():
    figure = pictures.scores_picture({"mine": [3.0, 5.0], "random": [1.0, 2.0]}, "title")
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["mine", "random"]
    dots = [collection.get_offsets().tolist() for collection in axes.collections]
    assert dots == [[[3, 0], [5, 0]], [[1, 1], [2, 1]]]
    assert [line.get_xdata()[0] for line in axes.lines] == [4.0, 1.5]
    # The first backbone is at the top.
    assert axes.get_ylim()[0] > axes.get_ylim()[1]


def test_names_of_users_are_not_formulas(tmp_path):
    names = ("$a#b$", os.fsdecode(b"caf\xe9"), "sea")
    masks = {"truth $\\lr$": [np.array([[0, 1], [2, IGNORED]])]}
    image = np.zeros([2, 2, 3], np.uint8)
    figures = {
        "masks": pictures.masks_picture([image], masks, names, "folder:/data/cost$$: 50 %"),
        "confusion": pictures.confusion_picture(np.eye(3, dtype=int), ("$a#b$", "$", "c"), "$^$"),
        "scores": pictures.scores_picture({"/mnt/c$/d_$/": [0.1, 0.2]}, "$#$"),
    }
    save_figures(str(tmp_path), figures)
    assert len(os.listdir(tmp_path)) == 3
