"""What backbones are compared on: the evaluation of one backbone with one seed, and the figure of predictions."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from pixpro_tf.data.labelled.detection import object_batches
from pixpro_tf.data.labelled.reading import reading
from pixpro_tf.data.labelled.segmentation import image_batches
from pixpro_tf.evaluation import correspondence, dense, detection, pictures
from pixpro_tf.evaluation.dense_matching import evaluation as dense_matching
from pixpro_tf.evaluation.dense_matching.matching import Matches
from pixpro_tf.evaluation.object_detection import evaluation as object_detection
from pixpro_tf.evaluation.segmentation import evaluation as segmentation
from pixpro_tf.evaluation.segmentation.segmenter import predict

# Predictions on the pictured images, by name; what they are is up to the task.
Predictions = Mapping[str, np.ndarray]


class Task(Protocol):
    """Evaluation of backbones on the same labelled images.

    Attributes:
        metrics: names of the scores for the user, by their names in the results; the first one decides.
        evaluated: what is scored, for headings.
    """

    metrics: dict[str, str]
    evaluated: str

    def evaluate(self, settings: Any, folder: str) -> tuple[dict[str, float], Predictions]:
        """Trains and scores one backbone.

        Args:
            settings: flags of the evaluation.
            folder: folder of the checkpoints from which an interrupted evaluation continues; empty writes none.

        Returns:
            Scores in [0, 1] by name, and the predictions for the figure.
        """

    def figure(self, predictions: Mapping[str, Predictions], title: str) -> Any:
        """Returns a Matplotlib figure of the truth and the predictions of each backbone, which are given by its name."""


class Detection:
    """Detectors on boxes.

    Args:
        settings: flags of any of the evaluations.
        folder: folder of the comparison; empty for none.
    """

    metrics = {"ap": "AP", "ap_50": "AP50", "ap_75": "AP75"}

    def __init__(self, settings: detection.Settings, folder: str) -> None:
        self.evaluated = settings.evaluated
        with reading(
            settings.labels or settings.dataset, "labels" if settings.labels else "dataset"
        ):
            self._opened = object_detection.open_data(settings, folder)
            count, prepare = object_detection.PICTURED, self._opened.data.prepare
            examples = self._opened.examples.take(count)
            (self._pictured,) = object_batches(examples, count, prepare).as_numpy_iterator()
        self._class_names = self._opened.data.class_names

    def evaluate(
        self, settings: detection.Settings, folder: str
    ) -> tuple[dict[str, float], Predictions]:
        """See `Task.evaluate`."""
        result = object_detection.evaluate(settings, folder, self._opened)
        scores = {name: getattr(result.scores, name) for name in self.metrics}
        scores |= {
            f"ap of {name}": ap for name, ap in result.scores.class_ap.items() if ap is not None
        }
        found = object_detection.detected(result.detector, self._pictured)
        return scores, found._asdict()

    def figure(self, predictions: Mapping[str, Predictions], title: str) -> Any:
        """See `Task.figure`."""
        rows = {"truth": pictures.true_boxes(self._pictured)}
        for name, found in predictions.items():
            rows[name] = pictures.found_boxes(found)
        title += f" ({pictures.SHOWN_BOXES})"
        images = list(self._pictured["image"])
        return pictures.boxes_picture(images, rows, self._class_names, title)


class Segmentation:
    """Segmenters on masks.

    Args:
        settings: flags of any of the evaluations.
        folder: folder of the comparison; empty for none.
    """

    metrics = {"mean_iou": "mIoU", "pixel_accuracy": "pixel accuracy"}

    def __init__(self, settings: dense.Settings, folder: str) -> None:
        self.evaluated = f"{settings.dataset}, {settings.split}, {settings.mode}"
        with reading(settings.dataset):
            self._data = segmentation.open_data(settings)
            examples = self._data.split(settings.split).take(segmentation.PICTURED)
            self._pictured = list(image_batches(examples, 1))
        self._class_names = self._data.class_names

    def evaluate(
        self, settings: dense.Settings, folder: str
    ) -> tuple[dict[str, float], Predictions]:
        """See `Task.evaluate`."""
        result = segmentation.evaluate(settings, folder, self._data)
        scores = {name: float(getattr(result.scores, name)) for name in self.metrics}
        iou = zip(self._class_names, result.scores.class_iou.tolist(), strict=True)
        scores |= {f"IoU of {name}": value for name, value in iou if np.isfinite(value)}
        predictions = {
            str(place): predict(result.segmenter, images, masks)[0].numpy()
            for place, (images, masks) in enumerate(self._pictured)
        }
        return scores, predictions

    def figure(self, predictions: Mapping[str, Predictions], title: str) -> Any:
        """See `Task.figure`."""
        images, masks = zip(
            *((images[0].numpy(), masks[0].numpy()) for images, masks in self._pictured),
            strict=True,
        )
        rows: dict[str, Sequence[np.ndarray]] = {"truth": masks}
        for name, found in predictions.items():
            rows[name] = [found[str(place)] for place in range(len(images))]
        return pictures.masks_picture(images, rows, self._class_names, title)


class Matching:
    """Dense matching of views, without labels.

    Args:
        settings: flags of any of the evaluations.
        folder: folder of the comparison; empty for none.
    """

    metrics = {"found": "matched", "chance": "chance"}

    def __init__(self, settings: correspondence.Settings, folder: str) -> None:
        parts = (settings.dataset, settings.split, "dense matching")
        self.evaluated = ", ".join(filter(None, parts))

    def evaluate(
        self, settings: correspondence.Settings, folder: str
    ) -> tuple[dict[str, float], Predictions]:
        """See `Task.evaluate`."""
        result = dense_matching.evaluate(settings, folder)
        # Views that overlap most show most; they are the same for all backbones.
        view, other, matches = max(result.examples, key=lambda example: np.sum(example[2].seen))
        shown = {"view": view, "other": other} | matches._asdict()
        return {"found": result.found, "chance": result.chance}, shown

    def figure(self, predictions: Mapping[str, Predictions], title: str) -> Any:
        """See `Task.figure`."""
        rows = {}
        for name, found in predictions.items():
            matches = Matches(**{field: found[field] for field in Matches._fields})
            rows[name] = (found["view"], found["other"], matches)
        return pictures.matches_picture(list(rows.values()), title, list(rows))
