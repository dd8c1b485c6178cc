"""Figures of what the features show during a run, on images of the run, and how well they match between views; no labels are needed."""

import concurrent.futures
import dataclasses
from collections.abc import Callable
from typing import Any

import matplotlib.figure
import numpy as np
import tensorflow as tf

from pixpro_tf.backbones.resnet import ResNet
from pixpro_tf.data.views.photometric import denormalize, normalize
from pixpro_tf.evaluation import pictures
from pixpro_tf.evaluation.dense_matching.matching import Matches, match
from pixpro_tf.evaluation.features import feature_pictures
from pixpro_tf.evaluation.features.components import principal_components
from pixpro_tf.storage.run_folder import RunFolder
from pixpro_tf.training.callbacks import StepCallback
from pixpro_tf.training.logs import save_figure, summaries
from pixpro_tf.training.pace import Pace

_LEVEL, _PICTURED = "c5", 4


@dataclasses.dataclass(frozen=True)
class FixedImages:
    """Images of a run on which the features are looked at, always the same.

    Attributes:
        squares: uint8 `[N, 2S, 2S, C]`, large crops without photometric augmentation.
        view_1, view_2: normalised float32 `[M, S, S, C]`, two views of other images.
        box_1, box_2: float32 `[M, 4]`, boxes of the views; see `ops.geometry`.
    """

    squares: np.ndarray
    view_1: np.ndarray
    view_2: np.ndarray
    box_1: np.ndarray
    box_2: np.ndarray


class FeatureFigures(StepCallback):
    """Plots principal components and dense matches of the online backbone, and logs the dense matching accuracy.

    Nothing of this uses the run's random streams or writes to its variables: all other results of the run are the same without it.

    Args:
        start_step: step at which this process starts.
        folder: run folder.
        backbone: online backbone.
        images: function that returns the images; called before the first figure.
        every: number of steps between figures.
        seconds_between: minimum number of seconds between figures; a figure that is due sooner is skipped. 0 skips none, and plots another
            one at the start.
    """

    def __init__(
        self,
        start_step: int,
        folder: RunFolder,
        backbone: ResNet,
        images: Callable[[], FixedImages],
        *,
        every: int,
        seconds_between: float = 0.0,
    ) -> None:
        super().__init__(start_step)
        self._folder = folder
        self._images = images
        self._every = every
        self._pace = Pace(seconds_between)
        self._fixed: FixedImages | None = None

        @tf.function(reduce_retracing=True)
        def maps(views: tf.Tensor) -> tf.Tensor:
            return tf.cast(backbone(views, training=False)[_LEVEL], tf.float32)

        self._maps = maps
        self._channels = backbone.channels

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if not self._pace.seconds:
            self._look(self.start_step)

    def on_step_end(self, step: int, logs: dict[str, tf.Tensor | float]) -> None:
        if step % self._every == 0 and self._pace.is_due():
            self._look(step)
            self._pace.done()

    def _look(self, step: int) -> None:
        # A separate thread has no strategy scope, in which the function would run on all replicas.
        with concurrent.futures.ThreadPoolExecutor(1) as thread:
            accuracy, figures = thread.submit(self._measure, step).result()
        for name, figure in figures.items():
            save_figure(self._folder, f"{name}-{step:07d}", name, step, figure)
        with summaries(self._folder, step):
            tf.summary.scalar(
                "probe/dense_matching",
                accuracy,
                description="Share of the bins whose nearest bin in another view of the image lies within one bin of the same position.",
            )

    def _measure(self, step: int) -> tuple[float, dict[str, matplotlib.figure.Figure]]:
        if self._fixed is None:
            self._fixed = self._images()
        fixed = self._fixed
        found = match(self._maps(fixed.view_1), self._maps(fixed.view_2), fixed.box_1, fixed.box_2)
        matches = Matches(*(each.numpy() for each in found))
        seen, right = int(matches.seen.sum()), int(matches.right.sum())
        view_1, view_2 = (
            pictures.as_rgb(denormalize(views[:_PICTURED], self._channels).numpy())
            for views in (fixed.view_1, fixed.view_2)
        )
        examples = [
            (view_1[place], view_2[place], Matches(*(each[place] for each in matches)))
            for place in range(len(view_1))
        ]
        squares = self._maps(normalize(tf.cast(fixed.squares, tf.float32) / 255, self._channels))
        components, shares = principal_components(squares.numpy())
        return right / max(seen, 1), {
            "matches": pictures.matches_picture(
                examples, f"Step {step}: dense matches between two views by {_LEVEL}"
            ),
            "components": feature_pictures.components_picture(
                pictures.as_rgb(fixed.squares),
                components,
                shares,
                f"Step {step}: first three principal components of {_LEVEL}, and their shares of the variance",
            ),
        }
