"""Tests of average precision against values derived by hand, and against pycocotools reading from files."""

import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pixpro_tf.evaluation.object_detection.coco import Objects, average_precision

NAMES = ("ball", "star", "rod")
BOX = [10.0, 20.0, 30.0, 60.0]


def objects(*rows):
    """Returns `Objects` from rows `(box, label)` or `(box, label, score)`."""
    columns = [np.array(column) for column in zip(*rows, strict=True)] if rows else []
    return Objects(*columns) if rows else Objects(np.zeros([0, 4]), np.zeros([0]), np.zeros([0]))


def test_exact_detections_have_a_precision_of_one():
    truth = [objects((BOX, 0)), objects((BOX, 2))]
    found = [objects((BOX, 0, 0.9)), objects((BOX, 2, 0.2))]
    scores = average_precision(truth, found, NAMES)
    assert (scores.ap, scores.ap_50, scores.ap_75) == pytest.approx((1, 1, 1), abs=1e-9)
    assert scores.class_ap == {"ball": pytest.approx(1), "star": None, "rod": pytest.approx(1)}


def test_an_overlap_counts_at_thresholds_up_to_its_iou():
    # A box that covers 7/10 of the true one has an IoU of 0.7: it counts at 0.5, 0.55, 0.6 and 0.65, and at 0.7.
    part = [10.0, 20.0, 30.0, 48.0]
    scores = average_precision([objects((BOX, 0))], [objects((part, 0, 0.9))], NAMES)
    assert scores.ap == pytest.approx(0.5, abs=1e-9)
    assert (scores.ap_50, scores.ap_75) == pytest.approx((1, 0), abs=1e-9)


def test_no_detections_have_a_precision_of_zero():
    scores = average_precision([objects((BOX, 1))], [objects()], NAMES)
    assert (scores.ap, scores.ap_50, scores.ap_75) == (0, 0, 0)
    assert scores.class_ap == {"ball": None, "star": 0.0, "rod": None}


def test_a_class_with_crowds_only_has_no_precision_whatever_is_found():
    crowd = Objects(np.array([BOX, BOX]), np.array([0, 1]), crowds=np.array([False, True]))
    for found in (objects(), objects((BOX, 0, 0.9))):
        scores = average_precision([crowd], [found], NAMES)
        assert scores.class_ap == {"ball": pytest.approx(scores.ap), "star": None, "rod": None}


def test_a_class_without_ground_truth_is_ignored():
    truth, found = [objects((BOX, 0))], [objects((BOX, 0, 0.5), (BOX, 1, 0.9))]
    assert average_precision(truth, found, NAMES).ap == pytest.approx(1, abs=1e-9)


def test_images_are_not_mixed_up():
    truth = [objects((BOX, 0)), objects(), objects((BOX, 0))]
    found = [objects(), objects((BOX, 0, 0.9)), objects((BOX, 0, 0.8))]
    # Half of the objects are detected, after a false one: the precision is 1/2 up to a recall of 1/2, which is 51 of 101 points.
    assert average_precision(truth, found, NAMES).ap_50 == pytest.approx(51 / 101 / 2, abs=1e-9)


def test_scores_match_pycocotools_reading_from_files(tmp_path):
    rng = np.random.default_rng(0)
    truth, found, annotations, results = [], [], [], []
    for image in range(12):
        first = rng.uniform(0, 80, [5, 2])
        boxes = np.concatenate([first, first + rng.uniform(8, 40, [5, 2])], axis=1)
        labels = rng.integers(0, 3, 5)
        moved = np.concatenate([boxes + rng.normal(0, 3, boxes.shape), boxes[:2] + 30])
        moved_labels = np.concatenate([labels, labels[:2]])
        scores = rng.uniform(0, 1, 7)
        truth.append(Objects(boxes, labels))
        found.append(Objects(moved, moved_labels, scores))
        for (y0, x0, y1, x1), label in zip(boxes.tolist(), labels.tolist(), strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image + 1,
                    "category_id": label + 1,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": (x1 - x0) * (y1 - y0),
                    "iscrowd": 0,
                }
            )
        for (y0, x0, y1, x1), label, score in zip(
            moved.tolist(), moved_labels.tolist(), scores.tolist(), strict=True
        ):
            box = [x0, y0, x1 - x0, y1 - y0]
            results.append(
                {"image_id": image + 1, "category_id": label + 1, "bbox": box, "score": score}
            )
    names = [{"id": number, "name": name} for number, name in enumerate(NAMES, start=1)]
    images = [{"id": number + 1} for number in range(12)]
    dataset = {"images": images, "categories": names, "annotations": annotations}
    (tmp_path / "truth.json").write_text(json.dumps(dataset))
    (tmp_path / "found.json").write_text(json.dumps(results))
    reference = COCO(str(tmp_path / "truth.json"))
    evaluation = COCOeval(reference, reference.loadRes(str(tmp_path / "found.json")), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    scores = average_precision(truth, found, NAMES)
    assert 0.1 < scores.ap < 0.9
    np.testing.assert_allclose(
        [scores.ap, scores.ap_50, scores.ap_75], evaluation.stats[:3], atol=1e-6
    )
    np.testing.assert_allclose(np.mean(list(scores.class_ap.values())), scores.ap, atol=1e-6)


def test_ground_truth_without_objects_is_rejected():
    with pytest.raises(ValueError, match="contains no objects"):
        average_precision([objects()], [objects()], NAMES)
