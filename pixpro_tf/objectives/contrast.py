"""PixContrast: each bin distinguishes the target network's bins at the same position from other bins."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from pixpro_tf import losses
from pixpro_tf.errors import ConfigError
from pixpro_tf.layers.heads import ProjectorSettings
from pixpro_tf.objectives.base import Metrics
from pixpro_tf.objectives.pixel import PixelObjective
from pixpro_tf.ops.geometry import Bins
from pixpro_tf.ops.numerics import at_least_float32
from pixpro_tf.ops.replicas import of_all_replicas

NEGATIVES = ("image", "batch", "both")
# Loss of each image, number of its bins that count, and of those whose nearest bin is a positive.
Contrast = tuple[tf.Tensor, tf.Tensor, tf.Tensor]


@tf.keras.utils.register_keras_serializable(package="pixpro_tf")
class PixelContrast(PixelObjective):
    """Pixel-level contrastive loss on the projections themselves, averaged over both directions.

    Args:
        levels, projector: see `PixelObjective`.
        temperature: temperature of the loss, greater than 0.
        negatives: bins from which positives are distinguished, all in other views: "image" for the other bins of the image, as in the paper;
            "batch" for the bins of the other images of the global batch; "both".
        common: other arguments of `PixelObjective`.

    Source: the PixContrast of Xie et al., CVPR 2021 (https://arxiv.org/abs/2011.10043). Bins without a positive pair do not count, and an
        image without positive pairs adds 0.

    Examples:
        >>> import pixpro_tf
        >>> objective = pixpro_tf.PixelContrast(["c5"], {"hidden_channels": 64, "out_channels": 16}, temperature=0.3)
        >>> objective.name, objective.levels, objective.threshold
        ('pixel', ('c5',), 0.7)
    """

    def __init__(
        self,
        levels: Sequence[str],
        projector: ProjectorSettings | dict[str, Any],
        temperature: float = 0.3,
        negatives: str = "image",
        **common: Any,
    ) -> None:
        super().__init__(levels, projector, **common)
        if negatives not in NEGATIVES:
            raise ConfigError(
                f"{negatives} is not supported; use one of {', '.join(NEGATIVES)}", of="negatives"
            )
        self.temperature = temperature
        self.negatives = negatives

    def compare_bins(
        self, online: Sequence[tf.Tensor], target: Sequence[tf.Tensor], bins: Sequence[Bins]
    ) -> tuple[tf.Tensor, Metrics]:
        contrast = self._contrast_of_image if self.negatives == "image" else self._contrast_of_batch
        loss_1, counted_1, right_1 = contrast(online[0], target[1], *bins)
        loss_2, counted_2, right_2 = contrast(online[1], target[0], *bins[::-1])
        counted = counted_1 + counted_2
        overlapping = tf.cast(counted > 0, counted.dtype)
        return (loss_1 + loss_2) / 2, {
            "matching_accuracy": tf.math.divide_no_nan(
                tf.reduce_sum(right_1 + right_2), tf.reduce_sum(counted)
            ),
            "matched_bins": tf.reduce_mean(counted) / 2,
            "no_overlap": 1 - tf.reduce_mean(overlapping),
        }

    def _contrast_of_image(self, online: tf.Tensor, target: tf.Tensor, *bins: Bins) -> Contrast:
        contrast = self.form_of(losses.pixel_contrast, target.shape[1])
        return contrast(online, target, *bins, self.threshold, self.temperature)

    def _contrast_of_batch(
        self, online: tf.Tensor, target: tf.Tensor, bins: Bins, target_bins: Bins
    ) -> Contrast:
        target = at_least_float32(target)
        # In one exchange: features, centres and diagonals.
        diagonal = tf.broadcast_to(
            target_bins.diagonal[:, None, None], [*tf.unstack(tf.shape(target)[:2]), 1]
        )
        parts = [tf.cast(each, target.dtype) for each in (target, target_bins.centres, diagonal)]
        gathered, own = of_all_replicas(tf.concat(parts, axis=-1))
        target, centres, diagonal = tf.split(gathered, [target.shape[-1], 2, 1], axis=-1)
        contrast = self.form_of(losses.pixel_contrast_of_batch, None)
        return contrast(
            online,
            target,
            bins,
            Bins(*(tf.cast(each, bins.centres.dtype) for each in (centres, diagonal[:, 0, 0]))),
            own,
            self.threshold,
            self.temperature,
            self.negatives == "both",
        )

    def get_config(self) -> dict[str, Any]:
        own = {"temperature": self.temperature, "negatives": self.negatives}
        return super().get_config() | own
