"""Trains backbones of the report, and linear layers on them, with some of the labels, to find how many labels pre-training is worth."""

import dataclasses
from typing import Any

from benchmarks.report.place import Place
from benchmarks.report.plan import Plan, Run
from pixpro_tf.data.labelled.segmentation import open_segmentation
from pixpro_tf.evaluation import dense, detection
from pixpro_tf.evaluation.object_detection.evaluation import evaluate as evaluate_detection
from pixpro_tf.evaluation.segmentation.evaluation import evaluate as evaluate_segmentation


@dataclasses.dataclass(frozen=True)
class FineTuning:
    """Settings of training with some of the labels; `fine_tuning` of a plan.

    Attributes:
        images: numbers of labelled images to train with. Seed 0 trains with the first of them, seed 1 with the next ones, and so on, as far
            as the split reaches; all methods train with the same ones.
        steps, batch_size: number of steps, whatever the number of images, and largest batch size.
        crop_size, segmentation_rate: crops and learning rate of the segmenter, see `evaluation.dense`. Images are not scaled: other scales
            than that of scoring cost many points in training of a few hundred steps.
        detection_rate: learning rate of the detector, see `evaluation.detection`.
        linear_rate: learning rate of a linear layer on frozen features, see `evaluation.dense`.
    """

    images: tuple[int, ...]
    steps: int
    batch_size: int
    crop_size: int
    segmentation_rate: float
    detection_rate: float
    linear_rate: float

    def split(self, images: int, seed: int, available: int) -> str:
        """Returns the part of a training split with a number of available images with which a seed trains."""
        start = seed % (available // images) * images
        return f"train[{start}:{start + images}]"

    def training(self, images: int) -> dict[str, int]:
        """Returns the batch size, and the number of epochs that has the number of steps."""
        batch_size = min(self.batch_size, images)
        return {"batch_size": batch_size, "epochs": round(self.steps / (images // batch_size))}


def measure(
    plan: Plan, place: Place, run: Run, source: str, images: int, split: str
) -> dict[str, float]:
    """Fine-tunes a backbone as a segmenter and as a detector, and trains a linear layer on it; returns the mIoU, AP and the layer's mIoU.

    Args:
        plan, place: plan and folders of the report.
        run: backbone to measure.
        source: value of `--from` for it.
        images: number of labelled images.
        split: split to score on.
    """
    settings = FineTuning(**plan.fine_tuning)
    train = open_segmentation(plan.dataset, place.data_dir).split("train")
    common: dict[str, Any] = {
        "source": source,
        "dataset": plan.dataset,
        "data_dir": place.data_dir,
        "train_split": settings.split(images, run.seed, int(train.cardinality())),
        "split": split,
        "seed": run.seed,
    }
    common |= settings.training(images)
    maps: dict[str, Any] = {"output_stride": plan.output_stride}
    layer = evaluate_segmentation(dense.Settings(rates=(settings.linear_rate,), **maps, **common))
    segmenter = evaluate_segmentation(
        dense.Settings(
            mode="finetune",
            crop_size=settings.crop_size,
            min_scale=1.0,
            max_scale=1.0,
            rates=(settings.segmentation_rate,),
            **maps,
            **common,
        )
    )
    detector = evaluate_detection(detection.Settings(rate=settings.detection_rate, **common))
    return {
        "mean_iou": segmenter.scores.mean_iou,
        "ap": detector.scores.ap,
        "linear_mean_iou": layer.scores.mean_iou,
    }
