"""Evaluation of the features during training."""

import concurrent.futures
from typing import Any

import numpy as np
import tensorflow as tf

from pixpro_tf.backbones.resnet import ResNet
from pixpro_tf.data.labelled.segmentation import image_batches, open_segmentation
from pixpro_tf.evaluation.segmentation import frozen
from pixpro_tf.evaluation.segmentation.segmenter import score
from pixpro_tf.storage.run_folder import RunFolder
from pixpro_tf.training.callbacks import StepCallback
from pixpro_tf.training.logs import summaries

DATASET = "scenes/128"
TRAIN_SPLIT, SPLIT = "train[:200]", "validation[:100]"
_EPOCHS, _BATCH_SIZE, _RATE = 10, 20, 1e-2


class OnlineProbe(StepCallback):
    """Measures the mIoU of a linear layer on the frozen c5 of the online backbone, on a part of `scenes`.

    The probe does not use the run's random streams or write to its variables: all other results of the run are the same without it.

    Args:
        start_step: step at which this process starts.
        folder: run folder.
        backbone: backbone to evaluate.
        every: number of steps between evaluations; another evaluation takes place at the start.
        data_dir: data folder of TFDS.
    """

    def __init__(
        self, start_step: int, folder: RunFolder, backbone: ResNet, *, every: int, data_dir: str
    ) -> None:
        super().__init__(start_step)
        self._folder = folder
        self._every = every
        data = open_segmentation(DATASET, data_dir)
        self._num_classes = len(data.class_names)
        # About 20 MB, decoded once.
        self._batches = {
            split: image_batches(data.split(split), _BATCH_SIZE).cache()
            for split in (TRAIN_SPLIT, SPLIT)
        }
        self._function = frozen.map_function(backbone, "c5")

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._look(self.start_step)

    def on_step_end(self, step: int, logs: dict[str, tf.Tensor | float]) -> None:
        if step % self._every == 0:
            self._look(step)

    def _look(self, step: int) -> None:
        # A separate thread has no strategy scope: within one, the layer's variables would be mirrored on all replicas and workers.
        with concurrent.futures.ThreadPoolExecutor(1) as thread:
            mean_iou = thread.submit(self._mean_iou).result()
        print(f"probe at step {step}: mIoU {100 * mean_iou:.1f} % on {DATASET}", flush=True)
        with summaries(self._folder, step):
            tf.summary.scalar("probe/mean_iou", mean_iou)

    def _mean_iou(self) -> float:
        maps, masks = self._maps_of(TRAIN_SPLIT)
        head = frozen.train_linear(
            maps,
            masks,
            self._num_classes,
            rate=_RATE,
            epochs=_EPOCHS,
            batch_size=_BATCH_SIZE,
            seed=0,
            print_line=_no_line,
        )
        return score(head, [self._maps_of(SPLIT)], self._num_classes).mean_iou

    def _maps_of(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        return frozen.maps_and_masks(self._function, self._batches[split], print_line=_no_line)


def _no_line(line: str) -> None:
    """Prints nothing: lines about the probe's own progress would mix with those of the run."""
