"""Pre-trains with a custom objective: the dense loss of DenseCL, with negatives from the batch instead of a queue.

    python examples/densecl.py --flagfile=configs/pixpro.flags --dataset=folder:photos --run_dir=runs/densecl

The flags are those of `train.py`; those of the group Objectives have no effect here. Runs have the same features: logs, checkpoints, resuming, several devices, exports.
"""

import sys
from collections.abc import Sequence
from typing import Any

import pixpro_tf

# isort: split
import tensorflow as tf

from pixpro_tf.layers.heads import Projector, ProjectorSettings
from pixpro_tf.objectives.pixel import as_bins
from pixpro_tf.ops.numerics import unit_length
from pixpro_tf.training.command import training_command


@tf.keras.utils.register_keras_serializable(package="examples")
class DenseCL(pixpro_tf.Objective):
    """Contrasts each bin's match in the other view, the bin with the most similar backbone feature, with the other images.

    Args:
        temperature: temperature of the loss, greater than 0.
        weight: weight of the loss.

    Source: Wang et al., CVPR 2021 (https://arxiv.org/abs/2011.09157).
    """

    def __init__(
        self, temperature: float = 0.2, weight: float = 1.0, name: str = "densecl"
    ) -> None:
        super().__init__(levels=["c5"], weight=weight, name=name)
        self.temperature = temperature

    def make_projector(self) -> Projector:
        return Projector(self.levels, ProjectorSettings(2048, 128), name="projector_densecl")

    def compare(
        self, online: Sequence[pixpro_tf.View], target: Sequence[pixpro_tf.View]
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        losses = self.one_way(online[0], target[1]) + self.one_way(online[1], target[0])
        return losses / 2, {}

    def one_way(self, view: pixpro_tf.View, other: pixpro_tf.View) -> tf.Tensor:
        """Computes the loss of each image, `[B]`, for the bins of one view."""
        bins, keys = as_bins(view.outputs["c5"]), as_bins(other.outputs["c5"])
        features = as_bins(view.maps["c5"]), as_bins(other.maps["c5"])
        nearest = tf.argmax(tf.einsum("bnc,bmc->bnm", *features), axis=-1)
        positive = tf.einsum("bnc,bnc->bn", bins, tf.gather(keys, nearest, batch_dims=1))
        images = unit_length(tf.reduce_mean(keys, axis=1))
        negative = tf.einsum("bnc,kc->bnk", bins, images)
        # An image does not serve as a negative of its own bins.
        negative -= 1e9 * tf.eye(tf.shape(images)[0], dtype=negative.dtype)[:, None]
        logits = tf.concat([positive[..., None], negative], axis=-1) / self.temperature
        return tf.reduce_mean(tf.reduce_logsumexp(logits, axis=-1) - logits[..., 0], axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {"temperature": self.temperature, "weight": self.weight, "name": self.name}


main = training_command(
    __doc__, "python examples/densecl.py", objectives=lambda config: [DenseCL()]
)

if __name__ == "__main__":
    sys.exit(main())
