"""Measures the cost of a step through the propagation and the pixel loss, in this process."""

import sys
import time

import pixpro_tf  # noqa: F401 - chooses Keras 2, so it comes before TensorFlow

# isort: split
import tensorflow as tf

from benchmarks import measuring
from benchmarks.propagation import CHANNELS, Case, Cost
from pixpro_tf import losses
from pixpro_tf.layers import propagation
from pixpro_tf.ops import geometry, pairwise
from pixpro_tf.ops.numerics import unit_length


def measure(case: Case) -> Cost:
    """Measures a case in this process."""
    blockwise = case.form == "blockwise"
    pairwise.DENSE_BINS = 0 if blockwise else sys.maxsize
    weights = tf.random.stateless_normal([CHANNELS, CHANNELS], [0, 1], stddev=CHANNELS**-0.5)

    def inputs_of(height, width):
        shape = [case.batch, height * width, CHANNELS]
        features, targets = (
            [tf.random.stateless_normal(shape, [seed, view]) for view in range(case.views)]
            for seed in (1, 2)
        )
        bins = [
            geometry.bins_of(tf.constant([box] * case.batch), height, width)
            for box in ([0.1, 0.2, 0.7, 0.8], [0.9, 0.1, 0.3, 0.9])
        ]
        return features, [unit_length(target) for target in targets], bins

    def loss_of(features, target, bins, target_bins):
        if case.loss == "pixcontrast":
            return losses.pixel_contrast(
                unit_length(features), target, bins, target_bins, 0.7, temperature=0.3
            )[0]
        mixed = propagation.propagate(
            features, tf.einsum("bnc,cd->bnd", features, weights), 2.0, blockwise
        )
        return -losses.pixel_consistency(unit_length(mixed), target, bins, target_bins, 0.7)[0]

    @tf.function(jit_compile=case.jit)
    def step(features, targets, bins):
        with tf.GradientTape() as tape:
            tape.watch(features)
            total = 0.0
            for view in range(case.views):
                total += tf.reduce_sum(
                    loss_of(features[view], targets[view], bins[view], bins[1 - view])
                )
        return total, tape.gradient(total, features)

    def seconds_of(inputs):
        started = time.perf_counter()
        value, _ = step(*inputs)
        value.numpy()
        return time.perf_counter() - started

    seconds_of(inputs_of(2, 2))
    inputs = inputs_of(case.height, case.width)
    before = measuring.memory_from_now_on()["VmRSS"]
    seconds_of(inputs)
    megabytes = measuring.memory()["VmHWM"] - before
    return Cost([seconds_of(inputs) for _ in range(case.repeats)], megabytes)
