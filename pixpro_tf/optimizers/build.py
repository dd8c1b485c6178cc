"""An optimiser from its name."""

from pixpro_tf.optimizers.adamw import make_adamw
from pixpro_tf.optimizers.lamb import make_lamb
from pixpro_tf.optimizers.lars import LARS, MomentumSGD

NAMES = ("lars", "sgd", "lamb", "adamw")


def build(name, learning_rate, *, momentum, weight_decay, trust_coefficient):
    """The optimiser `name`.

    Args:
        name: "lars", "sgd", "lamb" or "adamw".
        learning_rate: float or schedule.
        momentum: of LARS and SGD.
        weight_decay: as each of them has it.
        trust_coefficient: of LARS.

    Returns:
        A Keras optimiser that XLA does not compile by itself: on a GPU Keras would do so for every variable.

    Raises:
        ValueError: for another name.
        ModuleNotFoundError: for "lamb" where tensorflow-addons is not installed.
    """
    if name == "lars":
        return LARS(learning_rate, momentum, weight_decay, trust_coefficient, jit_compile=False)
    if name == "sgd":
        return MomentumSGD(learning_rate, momentum, weight_decay, jit_compile=False)
    if name == "lamb":
        return make_lamb(learning_rate, weight_decay)
    if name == "adamw":
        return make_adamw(learning_rate, weight_decay)
    raise ValueError(f"unknown optimizer {name!r}; one of {', '.join(NAMES)}")
