"""Agreement between the workers of a cluster: their start step, their images, and when they stop."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from pixpro_tf.config import Config
from pixpro_tf.errors import RunError

# Number of steps between checks of whether any worker has received a signal to stop.
_AGREE_EVERY = 5


_PRECISIONS = ("float32", "float16", "bfloat16")


def check_workers_agree(
    strategy: tf.distribute.Strategy, start_step: int, num_images: int, config: Config
) -> None:
    """Raises `RunError` if workers start at different steps, have different numbers of images, or different flags that change the training.

    Otherwise they would silently train different networks.
    """
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return
    replicas = strategy.num_replicas_in_sync
    total = _sum_over_replicas(strategy)
    for what, value, remedy in (
        ("starts at step {}", start_step, "--run_dir must be on storage that all workers share"),
        ("has {} images", num_images, "--dataset must be the same for all workers"),
        ("has --seed={}", config.seed, "--seed must be the same for all workers"),
        ("has --batch_size={}", config.batch_size, "--batch_size must be the same for all workers"),
        (
            f"computes in {config.precision} ({{}})",
            _PRECISIONS.index(config.precision),
            "their GPUs are of different kinds; pass the --precision that all of them support",
        ),
    ):
        mean = total(value) / replicas
        # The deviations of different integers add up to 1 or more.
        if total(abs(value - mean)) > 0.5:
            raise RunError(
                f"the workers differ: this worker {what.format(value)}, the mean of all workers is {mean:.1f}; {remedy}"
            )


def agreement(strategy: tf.distribute.Strategy) -> dict[str, Any]:
    """Returns arguments of `callbacks.Checkpoints` with which all workers stop after the same step.

    The dict is empty if there is only one process.
    """
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return {}
    total = _sum_over_replicas(strategy)
    return {"agree": lambda told: total(told) > 0, "agree_every": _AGREE_EVERY}


def _sum_over_replicas(strategy: tf.distribute.Strategy) -> Callable[[float], float]:
    @tf.function
    def summed(value: tf.Tensor) -> tf.Tensor:
        return strategy.reduce("SUM", strategy.run(tf.identity, args=(value,)), axis=None)

    return lambda value: float(summed(tf.constant(value, tf.float64)))
