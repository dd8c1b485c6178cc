"""Policies of photometric augmentation, as a table that does not need TensorFlow."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class ViewPolicy:
    """Operations that may be applied to one view, in this order: colour jitter, grey, blur, solarisation.

    Attributes:
        jitter: largest change of brightness, contrast, saturation (factors 1 +- x) and hue (turns of the colour circle); they are applied in
            random order.
        jitter_probability, grey_probability, blur_probability, solarize_probability: probability of each operation.
        rand_augment: whether to apply two random photometric operations after the blur; grey is then applied last.
    """

    jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    jitter_probability: float = 0.0
    grey_probability: float = 0.0
    blur_probability: float = 0.0
    solarize_probability: float = 0.0
    rand_augment: bool = False


def _both(policy: ViewPolicy) -> dict[int, ViewPolicy]:
    return {1: policy, 2: policy}


# Source: the authors' policies; "byol" is Grill et al., NeurIPS 2020.
_BYOL_1 = ViewPolicy((0.4, 0.4, 0.2, 0.1), 0.8, 0.2, 1.0)
_SIMCLR = ViewPolicy((0.8, 0.8, 0.8, 0.2), 0.8, 0.2, 0.5)
POLICIES: dict[str, dict[int, ViewPolicy]] = {
    "byol": {
        1: _BYOL_1,
        2: dataclasses.replace(_BYOL_1, blur_probability=0.1, solarize_probability=0.2),
    },
    # The paper's ablation: blur and solarisation are equally frequent in both views.
    "byol_symmetric": _both(
        dataclasses.replace(_BYOL_1, blur_probability=0.55, solarize_probability=0.1)
    ),
    "moco_v2": _both(ViewPolicy((0.4, 0.4, 0.4, 0.1), 0.8, 0.2, 0.5)),
    "simclr": _both(_SIMCLR),
    # Our own, for data whose classes do not depend on colour: colour alone would make the positions in an image too easy to distinguish.
    "simclr_grey": _both(dataclasses.replace(_SIMCLR, grey_probability=1.0)),
    "inst_disc": _both(ViewPolicy((0.4, 0.4, 0.4, 0.4), 1.0, 0.2)),
    "rand_augment": _both(dataclasses.replace(_SIMCLR, rand_augment=True)),
    "none": _both(ViewPolicy()),
}

# Policies that consist of changes of colour, or remove it.
OF_COLOUR = ("simclr_grey", "rand_augment")


def without_colour(policy: ViewPolicy) -> ViewPolicy:
    """Returns a policy without the operations that need red, green and blue: saturation, hue and grey."""
    brightness, contrast, *_ = policy.jitter
    return dataclasses.replace(policy, jitter=(brightness, contrast, 0.0, 0.0), grey_probability=0)
