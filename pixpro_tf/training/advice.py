"""Advice on flags that are allowed but unlikely to work."""

import math

from pixpro_tf.config import Config
from pixpro_tf.config.optimisation import AUTOMATIC_STEPS
from pixpro_tf.optimizers.schedules import EmaSchedule

# Number of times that the online network has renewed the target network, below which the target is still near its random start; see
# `EmaSchedule.generations`.
ENOUGH_GENERATIONS = 20

# Number of steps below which no loss changes the features much: the runs of docs/report with the fewest steps have some hundred.
SOME_STEPS = 200

# Smallest momentum that is suggested; a target that moves faster than this is hardly a mean.
_SMALLEST_MOMENTUM = 0.95


def advice_on_length(config: Config, steps: int) -> str:
    """Returns a warning if a run is too short to learn good features; else "".

    Without negatives, a run only learns what its target network knows, which begins with random weights. A run with a contrastive loss also
    learns from other positions or images, and one that starts from trained weights has a target that knows something; they need some
    steps.

    Args:
        config: configuration of the run.
        steps: number of steps of the whole run.
    """
    contrasts = (config.pixel_weight and config.pixel_loss == "pixcontrast") or (
        config.instance_weight and config.instance_loss == "contrastive"
    )
    share = 1 - config.ema_momentum
    if contrasts or config.init_from:
        if steps >= SOME_STEPS:
            return ""
        return (
            f"warning: {steps} steps are too few to learn good features; use at least {SOME_STEPS}, better thousands, e.g. with "
            "--epochs=auto"
        )
    if not share:
        return "warning: with --ema_momentum=1 the target network stays random; the paper uses 0.99"
    generations = EmaSchedule(config.ema_momentum, steps).generations(steps)
    if generations >= ENOUGH_GENERATIONS:
        return ""
    # The share falls to 0 along half a cosine; its mean over the steps is half of the first one.
    needed = math.ceil(2 * ENOUGH_GENERATIONS / share)
    automatic = ", e.g. with --epochs=auto" if needed <= AUTOMATIC_STEPS else ""
    remedies = [
        f"use at least {needed} steps with --ema_momentum={config.ema_momentum:g}{automatic}"
    ]
    momentum = math.floor(1000 * (1 - 2 * ENOUGH_GENERATIONS / steps)) / 1000
    if momentum >= _SMALLEST_MOMENTUM:
        remedies.append(f"--ema_momentum={momentum:g}")
    remedies.append("start from trained weights with --init_from")
    return (
        f"warning: {steps} steps are too few to learn good features: they renew the target network {generations:.1f} times, and it takes "
        f"about {ENOUGH_GENERATIONS} generations to leave its random start; {', or '.join(remedies)}"
    )
