"""Tests of the layout of the evaluation figures."""

import numpy as np

from pixpro_tf.data.labelled.segmentation import IGNORED
from pixpro_tf.evaluation import pictures

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
    figure = pictures.predictions_picture(images, masks, predictions, CLASSES, "title")
    panels = [axes.images[0].get_array() for axes in figure.axes]
    colours = pictures.class_colours(3)
    for index in range(2):
        np.testing.assert_array_equal(panels[index], images[index])
        np.testing.assert_array_equal(panels[2 + index][0], np.ones([4, 3]))
        np.testing.assert_array_equal(panels[2 + index][1:], colours[masks[index, 1:]])
        np.testing.assert_array_equal(panels[4 + index], colours[predictions[index]])
    assert [figure.axes[row].get_ylabel() for row in (0, 2, 4)] == ["image", "truth", "predicted"]
