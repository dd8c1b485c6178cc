"""Base class of the pixel objectives, which compare bins at the same position on every level."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from pixpro_tf.layers.heads import Projector, ProjectorSettings
from pixpro_tf.objectives.base import Metrics, Objective, View
from pixpro_tf.ops.geometry import Bins, bins_of
from pixpro_tf.ops.graphs import as_written, compiled_by_xla
from pixpro_tf.ops.numerics import unit_length
from pixpro_tf.ops.pairwise import is_large


class PixelObjective(Objective):
    """Base class of objectives on bins of two views at the same position, averaged over the levels.

    Args:
        levels: levels of the encoder's maps.
        projector: settings of the projector that both networks put on them, a `ProjectorSettings` or its fields as a dict.
        threshold: largest distance of a positive pair; see `ops.geometry.positive_mask`.
        jit_compile: whether to compile the loss of large maps with XLA; compiling that of small maps would not make it faster.
        weight: weight of the loss.

    Examples:
        >>> from pixpro_tf.objectives.pixel import PixelObjective
        >>> PixelObjective(["p3", "p4"], {"out_channels": 16}, threshold=1.4).threshold
        1.4
    """

    def __init__(
        self,
        levels: Sequence[str],
        projector: ProjectorSettings | dict[str, Any],
        threshold: float = 0.7,
        jit_compile: bool = True,
        weight: float = 1.0,
        name: str = "pixel",
    ) -> None:
        super().__init__(levels, weight, name)
        self.projector_settings = ProjectorSettings.of(projector)
        self.threshold = threshold
        self.jit_compile = jit_compile

    def make_projector(self) -> Projector:
        return Projector(self.levels, self.projector_settings, name="projector")

    @as_written
    def compare(self, online: Sequence[View], target: Sequence[View]) -> tuple[tf.Tensor, Metrics]:
        found = [self._compare_level(level, online, target) for level in self.levels]
        losses = tf.add_n([losses for losses, _ in found]) / len(found)
        metrics = {
            name: tf.add_n([metrics[name] for _, metrics in found]) / len(found)
            for name in found[0][1]
        }
        if len(found) > 1:
            metrics |= {
                f"pixel_loss_{level}": tf.reduce_mean(losses)
                for level, (losses, _) in zip(self.levels, found, strict=True)
            }
        return losses, metrics

    def compare_bins(
        self, online: Sequence[tf.Tensor], target: Sequence[tf.Tensor], bins: Sequence[Bins]
    ) -> tuple[tf.Tensor, Metrics]:
        """Computes the loss of one level.

        Args:
            online, target: outputs of each network for views 1 and 2, float `[B, N, C]`, unit length along C.
            bins: positions of the bins of views 1 and 2.

        Returns:
            The losses and metrics, see `compare`.
        """
        raise NotImplementedError

    def form_of(self, loss: Callable, num_bins: int | None) -> Callable:
        """Returns the function that computes a loss on a map of `num_bins`: compiled for a map that is large or of unknown size."""
        return _compiled(loss) if self.jit_compile and is_large(num_bins) else loss

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "projector": dataclasses.asdict(self.projector_settings),
            "threshold": self.threshold,
            "jit_compile": self.jit_compile,
        }

    def _compare_level(
        self, level: str, online: Sequence[View], target: Sequence[View]
    ) -> tuple[tf.Tensor, Metrics]:
        height, width = target[0].outputs[level].shape[1:3]
        return self.compare_bins(
            [as_bins(view.outputs[level]) for view in online],
            [as_bins(view.outputs[level]) for view in target],
            [bins_of(view.box, height, width) for view in target],
        )


@functools.cache
def _compiled(loss: Callable) -> Callable:
    return compiled_by_xla(loss)


def as_bins(feature_map: tf.Tensor) -> tf.Tensor:
    """Flattens a feature map `[B, H, W, C]` to unit vectors `[B, H * W, C]`.

    Examples:
        >>> from pixpro_tf.objectives.pixel import as_bins
        >>> import tensorflow as tf
        >>> as_bins(tf.ones([2, 7, 7, 16])).shape
        TensorShape([2, 49, 16])
    """
    batch, height, width, channels = feature_map.shape
    batch = tf.shape(feature_map)[0] if batch is None else batch
    return unit_length(tf.reshape(feature_map, [batch, height * width, channels]))
