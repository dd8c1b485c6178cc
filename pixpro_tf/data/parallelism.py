"""How many elements of a dataset are made at once."""

import math
import os

import tensorflow as tf

# Microseconds of processor time in every period, and the period.
_CPU_LIMIT = "/sys/fs/cgroup/cpu.max"


def num_cores() -> int:
    """Of this machine, as far as this process or the container that it is in may use them."""
    usable = hasattr(os, "sched_getaffinity")
    count = len(os.sched_getaffinity(0)) if usable else os.cpu_count() or 1
    try:
        with open(_CPU_LIMIT) as file:
            time, period = map(int, file.read().split())
    except (OSError, ValueError):
        # No such limit; it says `max` then.
        return count
    return min(count, math.ceil(time / period))


def untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The dataset without tf.data's tuner: what says AUTOTUNE uses all cores, at most 16 of them.

    The tuner's thread can miss that an iterator ends while the processor is busy, and then sleeps on, as long again as the iterator has
    lived, at most a minute. Whoever lets go of the iterator waits for it (TensorFlow 2.15.1). `tf.distribute` has a tuner of its own for what it
    hands to the devices, which this does not reach.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
