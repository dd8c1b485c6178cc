"""Comparison with numbers that the authors' PyTorch implementation computed in float64; see golden/README.md.

The two implementations agree to 1e-6 in float64. In float32, the authors' own code differs from its float64 run by 3e-6 in the loss and
0.7 % in gradient norms at step 0, and by up to 1e-3 in the loss and a few per cent in gradient norms at step 1, where activations near 0
take the other side of a ReLU. The tolerances for float32 are these differences.
"""

import numpy as np
import pytest
import tensorflow as tf

from pixpro_tf.ops import geometry
from pixpro_tf.optimizers.schedules import EmaSchedule, WarmupCosine
from tests.support.golden import (
    GOLDEN,
    GRADIENT_TOLERANCE,
    LOSS_TOLERANCE,
    entries,
    norm_and_values,
    two_steps,
)

pytestmark = pytest.mark.large


@pytest.mark.parametrize("threshold", ["0.7", "0.35"])
def test_masks_are_equal_bit_for_bit(threshold):
    boxes = (tf.constant(GOLDEN[f"mask/boxes_{view}"]) for view in (1, 2))
    mask = geometry.positive_mask(*boxes, 7, 7, float(threshold)).numpy()
    bits = np.unpackbits(GOLDEN[f"mask/ratio_{threshold}"])[: 64 * 49 * 49]
    np.testing.assert_array_equal(mask, bits.reshape(64, 49, 49).astype(bool))


def test_number_of_positive_pairs_agrees():
    boxes = (tf.constant(GOLDEN[f"mask/boxes_{view}"]) for view in (1, 2))
    mask = geometry.positive_mask(*boxes, 7, 7, 0.7).numpy()
    np.testing.assert_array_equal(mask.sum(), GOLDEN["mask/count"].sum())


def test_learning_rate_agrees():
    rate = WarmupCosine(peak=4.0, warmup_steps=100, total_steps=2000)(tf.range(2000))
    np.testing.assert_allclose(rate, GOLDEN["schedule/lr"], rtol=1e-6)


def test_ema_momentum_agrees():
    momentum = 1 - EmaSchedule(0.99, 2000)(tf.range(2000))
    np.testing.assert_allclose(momentum, GOLDEN["schedule/ema_momentum"], rtol=1e-6)


# Operations compute the same numbers eagerly and in a graph; tracing a ResNet-50 takes longer than its two steps.
@pytest.fixture(
    scope="module",
    params=[
        ("float64", "eager"),
        pytest.param(("float32", "graph"), marks=pytest.mark.thorough),
        pytest.param(("float64", "graph"), marks=pytest.mark.thorough),
    ],
    ids="-".join,
)
def computed(request):
    return request.param


@pytest.fixture(scope="module")
def precision(computed):
    return computed[0]


@pytest.fixture(scope="module")
def steps(computed):
    """Returns loss, gradients and variables by the authors' names after each of two steps."""
    precision, form = computed
    return two_steps(precision, graph=form == "graph")


@pytest.mark.slow
@pytest.mark.parametrize("step", [0, 1])
def test_loss_agrees(steps, step, precision):
    tolerance = LOSS_TOLERANCE[precision][step]
    np.testing.assert_allclose(
        steps[step]["loss"], GOLDEN[f"pixpro/step{step}/loss"], rtol=0, atol=tolerance
    )


@pytest.mark.slow
@pytest.mark.parametrize("step", [0, 1])
def test_gradient_norms_agree(steps, step, precision):
    tolerance = GRADIENT_TOLERANCE[precision][step]
    for name, golden in entries(step, "grad").items():
        norm, _ = norm_and_values(steps[step]["grad"][name])
        np.testing.assert_allclose(norm, golden[0], rtol=tolerance, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["weight", "state"])
@pytest.mark.parametrize("step", [0, 1])
def test_weights_target_weights_and_running_averages_agree(steps, kind, step, precision):
    tolerance = {"float64": (1e-6, 1e-6), "float32": (1e-4, 1e-3)}[precision][step]
    for name, golden in entries(step, kind).items():
        norm, values = norm_and_values(steps[step]["weight"][name])
        np.testing.assert_allclose(norm, golden[0], rtol=tolerance, err_msg=name)
        if precision == "float64" or step == 0:
            scale = np.abs(golden[1:]).max()
            # The gradient of the stem's scales sums all pixels of all images: in float32, it is accurate to 0.7 %, as in the authors' code.
            loose = precision == "float32" and name == "encoder.bn1.weight"
            np.testing.assert_allclose(
                values,
                golden[1:],
                rtol=0,
                atol=(5 if loose else 1) * tolerance * scale,
                err_msg=name,
            )
