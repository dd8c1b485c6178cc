"""What the workers of a cluster have to agree on: where they start, what they read, and when they leave."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from pixpro_tf.errors import RunError

# Steps between two times that the workers ask each other whether one was told to leave.
_AGREE_EVERY = 5


def check_workers_agree(strategy: tf.distribute.Strategy, start_step: int, num_images: int) -> None:
    """Raises `RunError` if processes start at different steps or see different images: they would train different networks without a word."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return
    replicas = strategy.num_replicas_in_sync
    total = _sum_over_replicas(strategy)
    for what, value, remedy in (
        ("starts at step {}", start_step, "--run_dir has to be one folder that all of them reach"),
        ("has {} images", num_images, "--dataset has to be the same for all of them"),
    ):
        mean = total(value) / replicas
        # The mean of the squares exceeds the square of the mean where any of them differs.
        if total(value**2) / replicas > mean**2 * (1 + 1e-12):
            raise RunError(
                f"the workers differ: this one {what.format(value)}, their mean is {mean:.1f}; {remedy}"
            )


def agreement(strategy: tf.distribute.Strategy) -> dict[str, Any]:
    """Arguments of `callbacks.Checkpoints` for several processes, which have to leave after the same step; a single one need not ask."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return {}
    total = _sum_over_replicas(strategy)
    return {"agree": lambda told: total(told) > 0, "agree_every": _AGREE_EVERY}


def _sum_over_replicas(strategy: tf.distribute.Strategy) -> Callable[[float], float]:
    @tf.function
    def summed(value: tf.Tensor) -> tf.Tensor:
        return strategy.reduce("SUM", strategy.run(tf.identity, args=(value,)), axis=None)

    return lambda value: float(summed(tf.constant(value, tf.float64)))
