"""Instance branch: the online network predicts the features of the whole image in the other view."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from pixpro_tf import losses
from pixpro_tf.layers.heads import ConvMLP, Projector, ProjectorSettings
from pixpro_tf.objectives.base import Maps, Metrics, Objective, View
from pixpro_tf.ops.graphs import as_written
from pixpro_tf.ops.numerics import at_least_float32, unit_length
from pixpro_tf.ops.replicas import of_all_replicas

LEVEL = "c5"


class InstanceObjective(Objective):
    """Base class of objectives on whole images: a projector and a predictor on c5, averaged over the map after the heads.

    Args:
        projector: settings of the projector that both networks put on c5; the predictor has two layers of the same widths.
        weight: weight of the loss.

    Source: the authors' instance branch (https://github.com/zdaxie/PixPro).

    Examples:
        >>> from pixpro_tf.objectives.instance import InstanceObjective
        >>> InstanceObjective({"hidden_channels": 64, "out_channels": 16}).levels
        ('c5',)
    """

    def __init__(
        self,
        projector: ProjectorSettings | dict[str, Any],
        weight: float = 1.0,
        name: str = "instance",
    ) -> None:
        super().__init__([LEVEL], weight, name)
        self.projector_settings = settings = ProjectorSettings.of(projector)
        self.predictor = ConvMLP(settings.hidden_channels, settings.out_channels, name="predictor")

    def make_projector(self) -> Projector:
        return Projector(self.levels, self.projector_settings, name="projector_instance")

    @as_written
    def call(self, projections: Maps, training: bool | None = None) -> Maps:
        return {LEVEL: self.predictor(projections[LEVEL], training=training)}

    def get_config(self) -> dict[str, Any]:
        return {
            "projector": dataclasses.asdict(self.projector_settings),
            "weight": self.weight,
            "name": self.name,
        }


@tf.keras.utils.register_keras_serializable(package="pixpro_tf")
class InstanceRegression(InstanceObjective):
    """The authors' loss: -2 times the cosine similarity of prediction and target for each direction, so it is in [-4, 4].

    Examples:
        >>> import pixpro_tf
        >>> pixpro_tf.InstanceRegression({"hidden_channels": 64, "out_channels": 16}).name
        'instance'
    """

    @as_written
    def compare(self, online: Sequence[View], target: Sequence[View]) -> tuple[tf.Tensor, Metrics]:
        prediction, keys = _pooled(online), _pooled(target)
        agreement = losses.instance_consistency(prediction[0], keys[1])
        agreement += losses.instance_consistency(prediction[1], keys[0])
        return -2 * agreement, {"instance_consistency": tf.reduce_mean(agreement) / 2}


@tf.keras.utils.register_keras_serializable(package="pixpro_tf")
class InstanceContrast(InstanceObjective):
    """The paper's SimCLR*: contrasts each image's own key with those of the global batch; averaged over both directions.

    Args:
        projector, weight: see `InstanceObjective`.
        temperature: temperature of the loss, greater than 0.

    Examples:
        >>> import pixpro_tf
        >>> pixpro_tf.InstanceContrast({"hidden_channels": 64, "out_channels": 16}, temperature=0.1).temperature
        0.1
    """

    def __init__(
        self,
        projector: ProjectorSettings | dict[str, Any],
        temperature: float = 0.2,
        weight: float = 1.0,
        name: str = "instance",
    ) -> None:
        super().__init__(projector, weight, name)
        self.temperature = temperature

    @as_written
    def compare(self, online: Sequence[View], target: Sequence[View]) -> tuple[tf.Tensor, Metrics]:
        prediction, keys = _pooled(online), _pooled(target)
        gathered, own = of_all_replicas(tf.concat(keys, axis=-1))
        keys = tf.split(gathered, 2, axis=-1)
        loss_1, right_1 = losses.instance_contrast(prediction[0], keys[1], own, self.temperature)
        loss_2, right_2 = losses.instance_contrast(prediction[1], keys[0], own, self.temperature)
        return (loss_1 + loss_2) / 2, {"instance_accuracy": tf.reduce_mean(right_1 + right_2) / 2}

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"temperature": self.temperature}


def _pooled(views: Sequence[View]) -> list[tf.Tensor]:
    """Returns a unit vector for each image of each view, `[B, C]`, averaged after the head, as the authors do."""
    return [
        unit_length(tf.reduce_mean(at_least_float32(view.outputs[LEVEL]), axis=[1, 2]))
        for view in views
    ]
