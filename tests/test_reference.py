"""Two training steps compared with an independent implementation, for settings that the golden numbers do not cover.

The implementation is `reference_torch.py`.
"""

import dataclasses
import functools

import numpy as np
import pytest
import tensorflow as tf

from pixpro_tf import build
from pixpro_tf.config import Config
from pixpro_tf.interop import torch as names
from pixpro_tf.ops import geometry
from pixpro_tf.optimizers.lars import LARS, MomentumSGD
from pixpro_tf.optimizers.schedules import EmaSchedule
from tests.support.models import recording_step

torch = pytest.importorskip("torch")

from tests.support import reference_torch as reference  # noqa: E402

IMAGE_SIZE = 96
EMA_BASE, EMA_STEPS = 0.99, 4
STEPS = 2
HIDDEN, DIM = 64, 32


@dataclasses.dataclass(frozen=True)
class Case:
    """Setting of a run.

    Learning rates are powers of two, which float32 represents exactly, and large enough for a step to have a visible effect.
    """

    ppm_layers: int = 1
    gamma: float = 2.0
    instance_weight: float = 0.0
    output_stride: int = 32
    optimizer: str = "lars"
    # Weight decay is a hundred times the recipe's: in a step that LARS has scaled down to 1/1000 of the weights, 1e-5 is negligible.
    weight_decay: float = 1e-3
    rates: tuple[float, float] = (0.5, 1.0)

    @property
    def settings(self):
        return {
            "backbone": "resnet10",
            "output_stride": self.output_stride,
            "ppm_layers": self.ppm_layers,
            "gamma": self.gamma,
            "positive_threshold": 0.7,
            "instance_weight": self.instance_weight,
        }


CASES = {
    "two_layers": Case(ppm_layers=2),
    "no_layer_gamma_1": Case(ppm_layers=0, gamma=1.0),
    "instance": Case(instance_weight=1.0),
    "sgd": Case(optimizer="sgd", weight_decay=1e-4, rates=(0.0625, 0.125)),
    "gamma_0.5": Case(gamma=0.5),
    "output_stride_16": Case(output_stride=16),
}


def random_state(model):
    """Returns all weights by the authors' names, in float32, which both sides can represent.

    The weights of the target network differ somewhat from those of the online network.
    """
    rng = np.random.default_rng(0)
    state = {}
    for name, tensor in model.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        shape = tuple(tensor.shape)
        if len(shape) == 4:
            value = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        elif name.endswith("running_var"):
            value = rng.uniform(0.5, 2.0, shape)
        elif name.endswith("weight"):
            value = rng.uniform(0.5, 1.5, shape)
        else:
            value = 0.1 * rng.standard_normal(shape)
        online_name = name.replace("_k.", ".")
        if online_name != name:
            value = 0.8 * state[online_name] + 0.2 * value
        state[name] = value.astype(np.float32)
    return state


def batch(step):
    """Returns four pairs of views whose boxes overlap (flipped and not), touch along an edge, and lie far apart."""
    rng = np.random.default_rng([1, step])
    view_1 = rng.standard_normal((4, IMAGE_SIZE, IMAGE_SIZE, 3))
    view_2 = 0.7 * view_1[:, :, ::-1] + 0.3 * rng.standard_normal(view_1.shape)
    box_1 = [[0.1, 0.05, 0.7, 0.8], [0.8, 0.2, 0.1, 0.9], [0.1, 0.0, 0.4, 0.9], [0, 0, 0.3, 0.4]]
    box_2 = [[0.9, 0.2, 0.2, 0.9], [0.9, 0.1, 0.4, 0.6], [0.4, 0.1, 0.65, 1], [0.6, 0.7, 0.9, 0.9]]
    # The touching edges stay as they are.
    jitter = rng.uniform(0, 0.05, (2, 4, 4)) * (np.arange(4) != 2)[:, None]
    return tuple(
        array.astype(np.float32) for array in (view_1, view_2, box_1 + jitter[0], box_2 + jitter[1])
    )


class Rates(tf.keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, rates):
        self.rates = rates

    def __call__(self, step):
        return tf.gather(tf.constant(self.rates), step)


def exact_share(step):
    """Computes `EmaSchedule` in float64; its own float32 would be the only notable rounding error, 1e-8 in everything."""
    shares = [1 - reference.ema_momentum(k, EMA_STEPS, EMA_BASE) for k in range(STEPS)]
    return tf.gather(tf.constant(shares, tf.float64), step)


def our_steps(case, state, precision):
    """Computes with our model what `reference.run` returns."""
    config = Config(
        **case.settings,
        image_size=IMAGE_SIZE,
        projector_hidden=HIDDEN,
        projector_dim=DIM,
        ema_momentum=EMA_BASE,
    )
    model = build.build_model(config, total_steps=EMA_STEPS, policy=precision)
    if precision == "float64":
        model.ema_schedule = exact_share
    names.load_state_dict(model, state)
    make_optimizer = {"lars": LARS, "sgd": MomentumSGD}[case.optimizer]
    optimizer = make_optimizer(Rates(case.rates), momentum=0.9, weight_decay=case.weight_decay)
    model.compile(optimizer=optimizer, jit_compile=False)

    # The float64 case checks the operations, and the float32 case checks the graph that users run.
    step = recording_step(model, precision, graph=precision == "float32")
    name_of = {variable.ref(): name for name, variable in names.variables_by_name(model).items()}
    steps = []
    for number in range(STEPS):
        loss, of_variable = step(*batch(number))
        gradients = {
            name_of[ref]: names.to_torch_layout(gradient) for ref, gradient in of_variable.items()
        }
        steps.append(reference.Step(loss, gradients, names.state_dict(model)))
    return steps


@functools.lru_cache(maxsize=1)
def state_and_expected_steps(case):
    settings = case.settings | {"hidden": HIDDEN, "dim": DIM}
    state = random_state(reference.PixPro(**settings))
    batches = []
    for number in range(STEPS):
        view_1, view_2, box_1, box_2 = batch(number)
        batches.append((view_1.transpose(0, 3, 1, 2), view_2.transpose(0, 3, 1, 2), box_1, box_2))
    return state, reference.run(
        state,
        batches,
        case.rates,
        optimizer=case.optimizer,
        weight_decay=case.weight_decay,
        ema_base=EMA_BASE,
        ema_steps=EMA_STEPS,
        **settings,
    )


def settings():
    for name in CASES:
        # XLA's dilated convolution is slow in float64; `test_resnet_torch.py` compares it separately.
        in_float64 = name != "output_stride_16"
        thorough = [pytest.mark.thorough] if in_float64 and name != "two_layers" else []
        yield pytest.param(
            (name, "float32"), id=f"{name}-float32", marks=[pytest.mark.slow, *thorough]
        )
        if in_float64:
            marks = [] if name == "instance" else [pytest.mark.slow]
            yield pytest.param((name, "float64"), id=f"{name}-float64", marks=marks)


@pytest.fixture(scope="module", params=settings())
def setting(request):
    return request.param


@pytest.fixture(scope="module")
def precision(setting):
    return setting[1]


@pytest.fixture(scope="module")
def steps(setting):
    """Returns pairs of our step and the reference's."""
    name, precision = setting
    state, expected = state_and_expected_steps(CASES[name])
    return list(zip(our_steps(CASES[name], state, precision), expected, strict=True))


def kind_of(name):
    if name.endswith((".running_mean", ".running_var")):
        return "average"
    return "target" if "_k." in name else "online"


def relative_errors(ours, expected, kind):
    """Computes the norm of the difference divided by the norm of the tensor, for each tensor of a kind.

    Norms have a lower limit of 1e-4 times the norm of all tensors together: the gradient of a bias before a batch norm is 0 except for
    rounding.
    """
    assert ours.keys() == expected.keys()
    floor = 1e-4 * np.sqrt(sum(np.sum(np.square(tensor)) for tensor in expected.values()))
    errors = {}
    for name, tensor in expected.items():
        if kind_of(name) == kind:
            assert ours[name].shape == tensor.shape, name
            error = np.linalg.norm(ours[name] - tensor)
            errors[name] = error / max(np.linalg.norm(tensor), floor)
    return errors


# Errors are rounding errors. They are up to 1e-13 in float64, and 1e-6 to 1e-4 in float32, except for activations near 0 that take the
# other side of a ReLU, which changes gradients by up to 1 %: this occurs in step 1, whose weights already have errors, and is possible
# in step 0. It affects target weights only through the share that they take over, and running averages hardly at all.
TOLERANCES = {
    "float64": dict.fromkeys(("gradient", "online", "target", "average"), (1e-11, 1e-11)),
    "float32": {
        "gradient": (1e-2, 5e-2),
        "online": (1e-3, 1e-2),
        "target": (1e-6, 1e-5),
        "average": (1e-5, 1e-4),
    },
}


def assert_no_larger(errors, tolerance):
    assert errors
    # The condition is not `error > tolerance`, which is false for NaN.
    assert not {name: error for name, error in errors.items() if not error <= tolerance}


def test_boxes_overlap_touch_and_lie_apart():
    for number in range(STEPS):
        _, _, box_1, box_2 = batch(number)
        mask = geometry.positive_mask(tf.constant(box_1), tf.constant(box_2), 3, 3, 0.7).numpy()
        boxes = (torch.tensor(box, dtype=torch.float64) for box in (box_1, box_2))
        np.testing.assert_array_equal(mask, reference.positive_mask(*boxes, 3, 3, 0.7))
        pairs = mask.sum(axis=(1, 2))
        assert np.all(pairs[:3] >= 2) and pairs[3] == 0, pairs


def test_ema_schedule_agrees():
    share = EmaSchedule(0.99, 50)(tf.range(51))
    expected = [1 - reference.ema_momentum(step, 50, 0.99) for step in range(51)]
    np.testing.assert_allclose(share, expected, rtol=1e-6, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("step", range(STEPS))
def test_loss_agrees(steps, precision, step):
    ours, expected = steps[step]
    # Metrics are float32 in any precision: half a unit in the last place of a value of up to 4 is 1.2e-7.
    tolerance = {"float64": (2e-7, 2e-7), "float32": (1e-5, 1e-3)}[precision][step]
    np.testing.assert_allclose(ours.loss, expected.loss, rtol=0, atol=tolerance)


@pytest.mark.parametrize("step", range(STEPS))
def test_gradients_agree(steps, precision, step):
    ours, expected = steps[step]
    errors = relative_errors(ours.gradients, expected.gradients, "online")
    assert_no_larger(errors, TOLERANCES[precision]["gradient"][step])


@pytest.mark.parametrize("kind", ["online", "target", "average"])
@pytest.mark.parametrize("step", range(STEPS))
def test_weights_and_running_averages_agree(steps, precision, step, kind):
    ours, expected = steps[step]
    errors = relative_errors(ours.weights, expected.weights, kind)
    assert_no_larger(errors, TOLERANCES[precision][kind][step])
