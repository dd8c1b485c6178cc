"""PixPro: each propagated bin of the online network predicts the target network's bins at the same position."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from pixpro_tf import losses
from pixpro_tf.layers.heads import ProjectorSettings, layers_by_level
from pixpro_tf.layers.propagation import PixelPropagation
from pixpro_tf.objectives.base import Maps, Metrics
from pixpro_tf.objectives.pixel import PixelObjective
from pixpro_tf.ops.geometry import Bins
from pixpro_tf.ops.graphs import as_written


@tf.keras.utils.register_keras_serializable(package="pixpro_tf")
class PixelConsistency(PixelObjective):
    """Pixel-to-propagation consistency, the objective of PixPro.

    Args:
        levels, projector: see `PixelObjective`; levels that share the projector also share the propagation.
        ppm_layers, gamma: number of layers and sharpness of the propagation; see `PixelPropagation`.
        propagates: whether to propagate bins; otherwise each bin's prediction is its own transform.
        common: other arguments of `PixelObjective`.

    Source: Xie et al., CVPR 2021 (https://arxiv.org/abs/2011.10043), and the authors' implementation where the two differ: the loss is -2
        times the mean similarity for each direction, so it lies in [-4, 4].

    Examples:
        >>> import pixpro_tf
        >>> objective = pixpro_tf.PixelConsistency(["c5"], {"hidden_channels": 64, "out_channels": 16}, gamma=2.0)
        >>> objective.name, objective.levels, objective.threshold
        ('pixel', ('c5',), 0.7)
    """

    def __init__(
        self,
        levels: Sequence[str],
        projector: ProjectorSettings | dict[str, Any],
        ppm_layers: int = 1,
        gamma: float = 2.0,
        propagates: bool = True,
        **common: Any,
    ) -> None:
        super().__init__(levels, projector, **common)
        self.ppm_layers = ppm_layers
        self.gamma = gamma
        self.propagates = propagates

        def propagation(name: str) -> PixelPropagation:
            return PixelPropagation(ppm_layers, gamma, self.jit_compile, propagates, name=name)

        shared = self.projector_settings.shared
        self.propagations = layers_by_level(self.levels, shared, propagation, "propagation")

    @as_written
    def call(self, projections: Maps, training: bool | None = None) -> Maps:
        return {
            level: self.propagations[level](projection, training=training)
            for level, projection in projections.items()
        }

    def compare_bins(
        self, online: Sequence[tf.Tensor], target: Sequence[tf.Tensor], bins: Sequence[Bins]
    ) -> tuple[tf.Tensor, Metrics]:
        consistency = self.form_of(losses.pixel_consistency, target[0].shape[1])
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

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "ppm_layers": self.ppm_layers,
            "gamma": self.gamma,
            "propagates": self.propagates,
        }
