"""Interface of an objective: the maps that it uses, its heads on them, and the loss that it computes from two views."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

Maps = dict[str, tf.Tensor]
Metrics = dict[str, tf.Tensor]


class View(NamedTuple):
    """One view of each image, as processed by one network.

    Attributes:
        maps: the encoder's maps `[B, H, W, C]` by level: "c2" to "c5", and "p2" to "p7" with an FPN.
        outputs: maps by level: the projections of the target network, or the online network's predictions (see `Objective.call`).
        box: box of the view in its image, `[B, 4]`; see `ops.geometry`.

    Examples:
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
    """Base class of objectives: a layer whose weights are those that only the online network has.

    A subclass defines in `make_projector` the head that both networks put on their maps, in `call` what only the online network
    computes from its projections, and in `compare` the loss.

    Args:
        levels: levels of the encoder's maps that the projector uses, e.g. "c5" or "p3".
        weight: weight of the loss in the sum, greater than 0.
        name: name of the objective's parts in checkpoints and of its loss in logs.

    Examples:
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
            raise ValueError("levels must contain at least one map; pass e.g. ('c5',)")
        if not weight > 0:
            raise ValueError(
                f"weight must be greater than 0, not {weight}; remove the objective instead"
            )
        self.levels = tuple(levels)
        self.weight = weight

    def make_projector(self) -> tf.keras.layers.Layer:
        """Returns a new layer from a dict of maps to a dict of projections by level; called once for each network."""
        raise NotImplementedError

    def call(self, projections: Maps, training: bool | None = None) -> Maps:
        """Returns the online network's predictions from its projections; by default, the projections themselves."""
        return projections

    def compare(self, online: Sequence[View], target: Sequence[View]) -> tuple[tf.Tensor, Metrics]:
        """Computes the loss of each image, both directions together.

        Args:
            online, target: views 1 and 2 of each network; those of the target network receive no gradient.

        Returns:
            The losses `[B]` in at least float32, and scalar metrics for the log.
        """
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        return {"levels": self.levels, "weight": self.weight, "name": self.name}
