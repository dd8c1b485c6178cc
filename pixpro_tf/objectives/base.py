"""What an objective is: the maps that it looks at, the heads that it puts on them, and what it makes of two views."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

Maps = dict[str, tf.Tensor]
Metrics = dict[str, tf.Tensor]


class View(NamedTuple):
    """One view of each image, as one network sees it.

    Attributes:
        maps: the encoder's maps `[B, H, W, C]` by their levels: "c2" to "c5", and "p2" to "p7" where there is an FPN.
        outputs: by level: of the target network its projections, of the online network what the objective predicts of its own.
        box: `[B, 4]`, where the view lies in its image; see `ops.geometry`.

    Example:
        >>> import pixpro_tf
        >>> import tensorflow as tf
        >>> maps = {"c5": tf.zeros([2, 7, 7, 64])}
        >>> view = pixpro_tf.View(maps, outputs=maps, box=tf.constant([[0.0, 0.0, 1.0, 1.0]] * 2))
        >>> view.box.shape
        TensorShape([2, 4])
    """

    maps: Maps
    outputs: Maps
    box: tf.Tensor


class Objective(tf.keras.layers.Layer):
    """Something to learn, as a layer: its weights are those that only the online network has.

    A subclass says in `make_projector` what both networks put on their maps, in `call` what the online one alone does with that, and in
    `compare` what it costs.

    Args:
        levels: of the encoder's maps, that the projector takes: "c5", "p3".
        weight: of its loss in the sum, above 0.
        name: of its parts in checkpoints and its loss in logs.

    Example:
        >>> import pixpro_tf
        >>> import tensorflow as tf
        >>> class PooledCosine(pixpro_tf.Objective):
        ...     def make_projector(self):
        ...         return tf.keras.layers.Lambda(lambda maps: {"c5": maps["c5"]})
        ...     def compare(self, online, target):
        ...         first, second = (tf.reduce_mean(view.outputs["c5"], axis=[1, 2]) for view in (online[0], target[1]))
        ...         return tf.keras.losses.cosine_similarity(first, second), {}
        >>> PooledCosine(["c5"], name="pooled").levels
        ('c5',)
    """

    def __init__(self, levels: Sequence[str], weight: float = 1.0, name: str | None = None) -> None:
        super().__init__(name=name)
        if not levels:
            raise ValueError("levels names no map; give at least one, as ('c5',)")
        if not weight > 0:
            raise ValueError(f"weight must be above 0, not {weight}; leave the objective out")
        self.levels = tuple(levels)
        self.weight = weight

    def make_projector(self) -> tf.keras.layers.Layer:
        """A new layer from a dict of maps to a dict of projections by level; each network gets one of its own."""
        raise NotImplementedError

    def call(self, projections: Maps, training: bool | None = None) -> Maps:
        """The online network's predictions from its projections; here the projections themselves."""
        return projections

    def compare(self, online: Sequence[View], target: Sequence[View]) -> tuple[tf.Tensor, Metrics]:
        """The loss of each image, both directions together.

        Args:
            online, target: views 1 and 2 of each network; the target's receive no gradient.

        Returns:
            `[B]`, in at least float32; and scalars for the log.
        """
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        return {"levels": self.levels, "weight": self.weight, "name": self.name}
