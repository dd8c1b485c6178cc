"""Encoder: a backbone, the neck of a detector if one is pre-trained, too, and the projectors of the objectives."""

from typing import Any

import tensorflow as tf

from pixpro_tf.backbones.fpn import Neck
from pixpro_tf.ops.graphs import as_written


class Encoder(tf.keras.Model):
    """Layers that both the online and the target network have.

    Args:
        backbone: model that returns the maps "c2" to "c5".
        projectors: projector of each objective by the objective's name.
        neck: `Neck` on the backbone's maps, or None.

    Call with images `[B, H, W, 3]`. Returns a dict: "maps" contains the maps `[B, h, w, C]` that objectives see, by level, and
    "projections" contains a dict by level for each objective.
    """

    def __init__(
        self,
        backbone: tf.keras.Model,
        projectors: dict[str, tf.keras.layers.Layer],
        neck: Neck | None = None,
        name: str = "encoder",
    ) -> None:
        super().__init__(name=name)
        self.backbone = backbone
        self.neck = neck
        self.projectors = projectors

    @as_written
    def call(self, images: tf.Tensor, training: bool | None = None) -> dict[str, dict[str, Any]]:
        maps = self.backbone(images, training=training)
        if self.neck is not None:
            maps = maps | self.neck.last(self.neck(maps, training=training))
        projections = {
            name: projector(maps, training=training) for name, projector in self.projectors.items()
        }
        return {"maps": maps, "projections": projections}
