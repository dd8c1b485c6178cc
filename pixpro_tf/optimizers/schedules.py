"""Learning rate and EMA momentum as functions of the step, which is the only clock of a run.

The cosines are computed as squared cosines of half the angle, `(1 + cos(a)) / 2 = cos(a / 2)^2`, and the latter as sines of the
remaining angle: in float32, the only precision of a TPU, `1 + cos(a)` loses every digit where it approaches 0.
"""

import math
from typing import Any

import tensorflow as tf

FINAL_RATE = 1e-6
WARMUP_START = 0.01


def _remaining_cosine(step: tf.Tensor, total_steps: int) -> tf.Tensor:
    """`(1 + cos(pi * step / total_steps)) / 2` with step clipped to [0, total_steps]; float32."""
    remaining = tf.cast(total_steps - tf.clip_by_value(step, 0, total_steps), tf.float32)
    return tf.square(tf.sin(remaining * (math.pi / 2 / max(total_steps, 1))))


class _WarmupSchedule(tf.keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up from a hundredth of the peak, up to and including step `warmup_steps`, followed by `_after_warmup`."""

    def __init__(self, peak: float, warmup_steps: int) -> None:
        self.peak = peak
        self.warmup_steps = warmup_steps

    def __call__(self, step: tf.Tensor | tf.Variable) -> tf.Tensor:
        step = tf.cast(step, tf.int64)
        after = self._after_warmup(step)
        if not self.warmup_steps:
            return after
        progress = tf.cast(step, tf.float32) / self.warmup_steps
        rising = self.peak * (WARMUP_START + (1 - WARMUP_START) * progress)
        return tf.where(step <= self.warmup_steps, rising, after)

    def _after_warmup(self, step: tf.Tensor) -> tf.Tensor:
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        return {"peak": self.peak, "warmup_steps": self.warmup_steps}


@tf.keras.utils.register_keras_serializable(package="pixpro_tf")
class WarmupCosine(_WarmupSchedule):
    """Learning-rate schedule with linear warm-up, then a cosine from the peak to 1e-6 at step `total_steps`.

    Args:
        peak: highest learning rate.
        warmup_steps: number of warm-up steps w; the learning rate at step i <= w is `peak / 100 * (99 * i / w + 1)`.
        total_steps: total number of steps n; the cosine spans n - w steps.

    Source: the authors' schedule (https://github.com/zdaxie/PixPro). As there, the warm-up ends at the peak in step w, which is also
        the first value of the cosine.

    Examples:
        >>> from pixpro_tf.optimizers.schedules import WarmupCosine
        >>> schedule = WarmupCosine(peak=1.0, warmup_steps=10, total_steps=110)
        >>> [float(schedule(step)) for step in (0, 10, 60, 110)]
        [0.01, 1.0, 0.5, 0.000001]
    """

    def __init__(self, peak: float, warmup_steps: int, total_steps: int) -> None:
        super().__init__(peak, warmup_steps)
        self.total_steps = total_steps

    def _after_warmup(self, step: tf.Tensor) -> tf.Tensor:
        decay_steps = self.total_steps - self.warmup_steps
        return FINAL_RATE + (self.peak - FINAL_RATE) * _remaining_cosine(
            step - self.warmup_steps, decay_steps
        )

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"total_steps": self.total_steps}


@tf.keras.utils.register_keras_serializable(package="pixpro_tf")
class WarmupSteps(_WarmupSchedule):
    """Learning-rate schedule with linear warm-up, then the peak, multiplied by `factor` from each of `boundaries` on.

    Args:
        peak: highest learning rate.
        warmup_steps: number of warm-up steps, see `WarmupCosine`.
        boundaries: steps at which the learning rate drops, increasing.
        factor: factor of each drop.

    Examples:
        >>> from pixpro_tf.optimizers.schedules import WarmupSteps
        >>> schedule = WarmupSteps(peak=1.0, warmup_steps=0, boundaries=[10, 20])
        >>> [float(schedule(step)) for step in (0, 10, 20)]
        [1.0, 0.1, 0.01]
    """

    def __init__(
        self, peak: float, warmup_steps: int, boundaries: list[int], factor: float = 0.1
    ) -> None:
        super().__init__(peak, warmup_steps)
        self.boundaries = list(boundaries)
        self.factor = factor

    def _after_warmup(self, step: tf.Tensor) -> tf.Tensor:
        drops = sum(tf.cast(step >= boundary, tf.int32) for boundary in self.boundaries)
        rates = [self.peak * self.factor**i for i in range(len(self.boundaries) + 1)]
        return tf.gather(tf.constant(rates, tf.float32), drops)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"boundaries": self.boundaries, "factor": self.factor}


class EmaSchedule:
    """Schedule of the share of the online network that the target network takes over in a step.

    Args:
        base_momentum: EMA momentum in step 0.
        total_steps: number of steps K after which the EMA momentum reaches 1.

    Call with step k. Returns `1 - m_k = (1 - base) * (cos(pi * k / K) + 1) / 2` as a float32 scalar: the share taken over, which keeps
    the digits that the EMA momentum itself loses near 1.

    Examples:
        >>> from pixpro_tf.optimizers.schedules import EmaSchedule
        >>> schedule = EmaSchedule(base_momentum=0.99, total_steps=100)
        >>> [float(schedule(step)) for step in (0, 100)]
        [0.01, 0.0]
        >>> round(schedule.generations(100), 3)
        0.505
    """

    def __init__(self, base_momentum: float, total_steps: int) -> None:
        self.base_momentum = base_momentum
        self.total_steps = total_steps

    def __call__(self, step: tf.Tensor | tf.Variable) -> tf.Tensor:
        return (1 - self.base_momentum) * _remaining_cosine(
            tf.cast(step, tf.int64), self.total_steps
        )

    def generations(self, step: int) -> float:
        """Returns how many times the target network has been renewed by the online one before a step: the sum of the shares it took over.

        A whole run of K steps has `(1 - base) * (K + 1) / 2` generations.
        """
        steps, total = min(step, self.total_steps), max(self.total_steps, 1)
        # The sum of cos(pi * k / K) for k < n, by Dirichlet's kernel.
        half = math.pi / (2 * total)
        cosines = 0.5 + math.sin((2 * steps - 1) * half) / (2 * math.sin(half))
        return (1 - self.base_momentum) * (steps + cosines) / 2
