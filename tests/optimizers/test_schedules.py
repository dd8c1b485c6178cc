"""Schedules compared with their formulas in float64, at every step."""

import math

import numpy as np
import pytest
import tensorflow as tf

from pixpro_tf.optimizers.schedules import EmaSchedule, WarmupCosine, WarmupSteps

# float32 has seven digits; the products and the sine lose a bit or two of them.
RTOL = 1e-6


def warmup(step, peak, warmup_steps):
    return peak / 100 * (99 * step / warmup_steps + 1)


def cosine(step, peak, warmup_steps, total_steps):
    if warmup_steps and step <= warmup_steps:
        return warmup(step, peak, warmup_steps)
    done = (step - warmup_steps) / (total_steps - warmup_steps)
    return 1e-6 + (peak - 1e-6) * (1 + math.cos(math.pi * done)) / 2


def drops(step, peak, warmup_steps, boundaries):
    if warmup_steps and step <= warmup_steps:
        return warmup(step, peak, warmup_steps)
    return peak * 0.1 ** sum(step >= boundary for boundary in boundaries)


def values(schedule, steps):
    return np.array([schedule(tf.constant(step, tf.int64)).numpy() for step in steps])


@pytest.mark.parametrize(("warmup_steps", "total_steps"), [(0, 50), (1, 50), (20, 300)])
def test_cosine_matches_formula_at_every_step(warmup_steps, total_steps):
    schedule = WarmupCosine(4.0, warmup_steps, total_steps)
    steps = range(total_steps + 1)
    expected = [cosine(step, 4.0, warmup_steps, total_steps) for step in steps]
    np.testing.assert_allclose(values(schedule, steps), expected, rtol=RTOL)


def test_long_run_keeps_precision_to_the_end():
    # The main recipe has 400 epochs of 1,251 steps. The float64 formula itself loses digits in its last steps, 1e-16 of the peak.
    total, warmup_steps = 400 * 1251, 5 * 1251
    schedule = WarmupCosine(4.0, warmup_steps, total)
    steps = [
        warmup_steps,
        warmup_steps + 1,
        total // 2,
        total - 1000,
        total - 100,
        total - 1,
        total,
    ]
    expected = [cosine(step, 4.0, warmup_steps, total) for step in steps]
    np.testing.assert_allclose(values(schedule, steps), expected, rtol=2e-6)


def test_warm_up_rises_from_a_hundredth_to_the_peak():
    schedule = WarmupCosine(4.0, 20, 300)
    first, middle, last, after = values(schedule, [0, 10, 20, 21])
    np.testing.assert_allclose([first, middle, last], [0.04, 2.02, 4.0], rtol=RTOL)
    # One step of 280 into the cosine: 4 * (pi / 560)^2 below the peak.
    np.testing.assert_allclose(4.0 - after, 4.0 * (math.pi / 560) ** 2, rtol=0.01)


def test_cosine_ends_at_a_millionth_and_stays_there():
    schedule = WarmupCosine(4.0, 20, 300)
    np.testing.assert_array_equal(values(schedule, [300, 301, 10_000]), np.float32([1e-6] * 3))


def test_vector_of_steps_gives_vector_of_learning_rates():
    for schedule in (WarmupCosine(4.0, 20, 300), WarmupSteps(4.0, 20, [100, 200])):
        rates = schedule(tf.range(301))
        assert rates.dtype == tf.float32
        np.testing.assert_allclose(rates, values(schedule, range(301)), rtol=RTOL)


@pytest.mark.parametrize("boundaries", [[], [100], [100, 200]])
@pytest.mark.parametrize("warmup_steps", [0, 20, 120])
def test_step_schedule_matches_formula_at_every_step(warmup_steps, boundaries):
    schedule = WarmupSteps(4.0, warmup_steps, boundaries)
    expected = [drops(step, 4.0, warmup_steps, boundaries) for step in range(300)]
    np.testing.assert_allclose(values(schedule, range(300)), expected, rtol=RTOL)


def test_learning_rate_drops_in_step_of_boundary():
    schedule = WarmupSteps(4.0, 0, [100], factor=0.5)
    np.testing.assert_allclose(values(schedule, [99, 100]), [4.0, 2.0], rtol=RTOL)


@pytest.mark.parametrize(
    "schedule",
    [WarmupCosine(4.0, 20, 300), WarmupSteps(4.0, 20, [100, 200], factor=0.3)],
    ids=lambda schedule: type(schedule).__name__,
)
def test_config_round_trip(schedule):
    copy = type(schedule).from_config(schedule.get_config())
    assert copy.get_config() == schedule.get_config()
    np.testing.assert_array_equal(copy(tf.range(300)), schedule(tf.range(300)))


def test_learning_rate_in_graph_matches_eager_value():
    schedule = WarmupCosine(4.0, 20, 300)
    compiled = tf.function(schedule.__call__, jit_compile=True)
    np.testing.assert_allclose(compiled(tf.range(301)), schedule(tf.range(301)), rtol=RTOL)


@pytest.mark.parametrize("base", [0.0, 0.9, 0.99, 1.0])
def test_ema_share_matches_formula_at_every_step(base):
    schedule = EmaSchedule(base, 300)
    expected = [(1 - base) * (math.cos(math.pi * k / 300) + 1) / 2 for k in range(301)]
    # The float64 formula itself has rounding errors of 1e-16 near the end.
    np.testing.assert_allclose(values(schedule, range(301)), expected, rtol=RTOL, atol=1e-15)


def test_ema_momentum_starts_at_base_and_ends_at_one():
    schedule = EmaSchedule(0.99, 300)
    first, last, after = values(schedule, [0, 300, 400])
    np.testing.assert_allclose(first, 0.01, rtol=RTOL)
    assert last == after == 0
    assert values(schedule, [299])[0] > 0


@pytest.mark.parametrize("total", [1, 2, 7, 300])
@pytest.mark.parametrize("base", [0.0, 0.9, 0.99, 1.0])
def test_generations_are_the_sum_of_the_shares(base, total):
    schedule = EmaSchedule(base, total)
    shares = [(1 - base) * (math.cos(math.pi * step / total) + 1) / 2 for step in range(total)]
    for step in {0, 1, total // 2, total}:
        assert schedule.generations(step) == pytest.approx(sum(shares[:step]), abs=1e-9)
    assert schedule.generations(total) == pytest.approx((1 - base) * (total + 1) / 2)
    assert schedule.generations(10 * total) == schedule.generations(total)
