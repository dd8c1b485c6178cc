"""Two training steps from the golden weights and inputs, for comparison with the numbers of the authors' implementation."""

import pathlib

import numpy as np
import tensorflow as tf

from pixpro_tf import build
from pixpro_tf.config import Config
from pixpro_tf.interop import torch as names
from pixpro_tf.optimizers.lars import LARS
from tests.golden import weights
from tests.support.models import recording_step

GOLDEN = np.load(pathlib.Path(__file__).parent.parent / "golden" / "pixpro_r50.npz")
RATES = (0.02, 0.04)
# Largest difference of the loss, and largest relative difference of the norm of a gradient, in each of the two steps.
LOSS_TOLERANCE = {"float64": (1e-6, 1e-6), "float32": (1e-5, 1e-3)}
GRADIENT_TOLERANCE = {"float64": (1e-6, 1e-6), "float32": (0.01, 0.05)}


class Rates(tf.keras.optimizers.schedules.LearningRateSchedule):
    def __call__(self, step):
        return tf.gather(tf.constant(RATES), step)


def two_steps(precision, graph):
    """Returns loss, gradients and variables by the authors' names after each of two steps.

    Args:
        precision: "float32" or "float64".
        graph: whether to run the steps as a graph.
    """
    model = build.build_model(Config(), total_steps=20, policy=precision)
    named = names.variables_by_name(model)
    names.load_state_dict(
        model,
        {
            name: weights.value(name, names.to_torch_layout(np.empty(variable.shape)).shape)
            for name, variable in named.items()
        },
    )
    optimizer = LARS(Rates(), momentum=0.9, weight_decay=1e-5, trust_coefficient=0.001)
    model.compile(optimizer=optimizer, jit_compile=False)

    step = recording_step(model, precision, graph=graph)
    results = []
    for number in range(2):
        loss, of_variable = step(*weights.inputs(step=number))
        results.append(
            {
                "loss": loss,
                "grad": {
                    name: of_variable[variable.ref()]
                    for name, variable in named.items()
                    if variable.ref() in of_variable
                },
                "weight": {name: variable.numpy() for name, variable in named.items()},
            }
        )
    return results


def entries(step, kind):
    """Returns the golden numbers of one kind ("grad", "weight" or "state") in a step, by the authors' names."""
    prefix = f"pixpro/step{step}/{kind}/"
    found = {
        key.removeprefix(prefix): GOLDEN[key] for key in GOLDEN.files if key.startswith(prefix)
    }
    assert found
    return found


def norm_and_values(array):
    """Returns the norm of an array and its first values in the order of PyTorch; these are what the golden file contains."""
    array = names.to_torch_layout(array).astype(np.float64)
    return np.linalg.norm(array), array.ravel()[:7]
