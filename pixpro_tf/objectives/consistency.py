"""PixPro: a bin, propagated, predicts the target's bins that see the same place."""

from collections.abc import Sequence

import tensorflow as tf

from pixpro_tf import losses
from pixpro_tf.heads import ProjectorSettings
from pixpro_tf.objectives.pixel import PixelObjective
from pixpro_tf.propagation import PixelPropagation

_compiled = tf.function(losses.pixel_consistency, jit_compile=True)


class PixelConsistency(PixelObjective):
    """Pixel-to-propagation consistency.

    Args:
        levels, projector, threshold, jit_compile, weight: see `PixelObjective`; levels that share the projector share the propagation.
        ppm_layers, gamma: see `PixelPropagation`.

    Source: Xie et al., CVPR 2021, and the authors' implementation where the two differ: the loss is -2 times the mean similarity for
        each direction, so it lies in [-4, 4].
    """

    def __init__(
        self,
        levels: Sequence[str],
        projector: ProjectorSettings,
        threshold: float = 0.7,
        ppm_layers: int = 1,
        gamma: float = 2.0,
        jit_compile: bool = True,
        weight: float = 1.0,
        name: str = "pixel",
    ):
        super().__init__(levels, projector, threshold, jit_compile, weight, name)
        self.ppm_layers = ppm_layers
        self.gamma = gamma

        def propagation(suffix=""):
            return PixelPropagation(ppm_layers, gamma, jit_compile, name=f"propagation{suffix}")

        if self.projector_settings.shared:
            self.propagations = dict.fromkeys(self.levels, propagation())
        else:
            self.propagations = {level: propagation(f"_{level}") for level in self.levels}

    def call(self, projections, training=None):
        return {
            level: self.propagations[level](projection, training=training)
            for level, projection in projections.items()
        }

    def compare_bins(self, online, target, bins):
        consistency = self.compiled_if_large(
            losses.pixel_consistency, _compiled, target[0].shape[1]
        )
        similarity, pairs = consistency(online[0], target[1], bins[0], bins[1], self.threshold)
        similarity += consistency(online[1], target[0], bins[1], bins[0], self.threshold)[0]
        overlapping = tf.cast(pairs > 0, similarity.dtype)
        return -2 * similarity, {
            "consistency": tf.math.divide_no_nan(
                tf.reduce_sum(similarity) / 2, tf.reduce_sum(overlapping)
            ),
            "positive_pairs": tf.reduce_mean(pairs),
            "no_overlap": 1 - tf.reduce_mean(overlapping),
        }

    def get_config(self):
        return super().get_config() | {"ppm_layers": self.ppm_layers, "gamma": self.gamma}
