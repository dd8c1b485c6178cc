"""Average precision as defined by COCO, computed with pycocotools."""

import contextlib
import dataclasses
import io
from collections.abc import Mapping, Sequence

import numpy as np
from pycocotools import coco, cocoeval


@dataclasses.dataclass(frozen=True, eq=False)
class Objects:
    """Objects of one image.

    Attributes:
        boxes: float `[N, 4]`, (y0, x0, y1, x1) in pixels.
        labels: integer `[N]`, classes.
        scores: float `[N]`, scores of detections; ignored for the ground truth.
        crowds: bool `[N]`, whether a box of the ground truth surrounds a group of objects: detections inside it do not count; empty if none
            does.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros([0]))
    crowds: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros([0], bool))


@dataclasses.dataclass(frozen=True)
class AveragePrecision:
    """Average precision in [0, 1], averaged over the classes in the ground truth.

    Attributes:
        ap: mean over the IoU thresholds 0.5, 0.55, ..., 0.95.
        ap_50, ap_75: average precision at IoU thresholds of 0.5 and 0.75.
        class_ap: `ap` of each class; None for a class without ground truth.
    """

    ap: float
    ap_50: float
    ap_75: float
    class_ap: dict[str, float | None]


def average_precision(
    truth: Sequence[Objects], found: Sequence[Objects], class_names: Sequence[str]
) -> AveragePrecision:
    """Computes the average precision over a split.

    Args:
        truth, found: ground truth and detections of each image, in the same order.
        class_names: names of the labels 0, 1, ...

    Raises:
        ValueError: if the ground truth contains no objects, or the numbers of images differ.
    """
    annotations = [
        {
            "id": 0,
            "image_id": image,
            "category_id": int(label),
            "bbox": _corner_and_size(box),
            "area": float(np.prod(np.maximum(box[2:] - box[:2], 0))),
            "iscrowd": int(crowd),
        }
        for image, objects in enumerate(truth)
        for box, label, crowd in zip(
            np.asarray(objects.boxes, float),
            objects.labels,
            objects.crowds if len(objects.crowds) else np.zeros(len(objects.labels), bool),
            strict=True,
        )
    ]
    if not annotations:
        raise ValueError("the ground truth contains no objects")
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number
    results = [
        {
            "image_id": image,
            "category_id": int(label),
            "bbox": _corner_and_size(box),
            "score": float(score),
        }
        for image, (objects, _) in enumerate(zip(found, truth, strict=True))
        for box, label, score in zip(
            np.asarray(objects.boxes, float), objects.labels, objects.scores, strict=True
        )
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        data = coco.COCO()
        data.dataset = {
            "info": {},
            "images": [{"id": image} for image in range(len(truth))],
            "categories": [{"id": label, "name": name} for label, name in enumerate(class_names)],
            "annotations": annotations,
        }
        data.createIndex()
        if not results:
            return _nothing_found(annotations, class_names)
        evaluation = cocoeval.COCOeval(data, data.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    # Axes: [IoU thresholds, recalls, classes, areas, limits on detections]; -1 for classes without ground truth.
    by_class = evaluation.eval["precision"][:, :, :, 0, -1].mean(axis=(0, 1))
    ap, ap_50, ap_75 = evaluation.stats[:3]
    return AveragePrecision(
        float(ap),
        float(ap_50),
        float(ap_75),
        {
            name: None if ap < 0 else float(ap)
            for name, ap in zip(class_names, by_class, strict=True)
        },
    )


def _corner_and_size(box: np.ndarray) -> list[float]:
    y0, x0, y1, x1 = map(float, box)
    return [x0, y0, x1 - x0, y1 - y0]


def _nothing_found(
    annotations: Sequence[Mapping[str, object]], class_names: Sequence[str]
) -> AveragePrecision:
    present = {each["category_id"] for each in annotations if not each["iscrowd"]}
    by_class = {name: 0.0 if i in present else None for i, name in enumerate(class_names)}
    return AveragePrecision(0.0, 0.0, 0.0, by_class)
