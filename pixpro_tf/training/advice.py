"""Advice on flags that are allowed but unlikely to work."""

from pixpro_tf.config import Config

# The target network takes the share 1 - m of the online network's weights in a step. Over a run, whose momentum m rises to 1, these shares
# add up to about half of (1 - m) times the number of steps. Below this sum, the target is still near its random start.
_ENOUGH_RENEWALS = 20


def advice_on_length(config: Config, steps: int) -> str:
    """Returns a warning if a run is too short for its target network to learn anything that the online network could predict; else "".

    Contrastive losses learn from other positions and images, so they do not need the target as much, and a run that starts from trained
    weights has a target that knows something.

    Args:
        config: configuration of the run.
        steps: number of steps of the whole run.
    """
    regresses = (config.pixel_weight and config.pixel_loss == "pixpro") or (
        config.instance_weight and config.instance_loss == "regression"
    )
    share = 1 - config.ema_momentum
    if not regresses or config.init_from:
        return ""
    if not share:
        return "warning: with --ema_momentum=1 the target network stays random; the paper uses 0.99"
    needed = round(2 * _ENOUGH_RENEWALS / share)
    if steps >= needed:
        return ""
    return (
        f"warning: {steps} steps are too few to learn good features: the target network follows the online one too slowly to leave its "
        f"random start (--ema_momentum={config.ema_momentum:g}); use at least {needed} steps, e.g. with --epochs=auto, or start from "
        "trained weights with --init_from"
    )
