"""Parallelism of tf.data pipelines: how many elements are processed at once."""

import math
import os

import tensorflow as tf

# File with two numbers: the CPU time available in each period and the length of the period, in microseconds.
_CPU_LIMIT = "/sys/fs/cgroup/cpu.max"


def num_cores() -> int:
    """Number of CPU cores that this process, or the container that it runs in, may use."""
    usable = hasattr(os, "sched_getaffinity")
    count = len(os.sched_getaffinity(0)) if usable else os.cpu_count() or 1
    try:
        with open(_CPU_LIMIT) as file:
            time, period = map(int, file.read().split())
    except (OSError, ValueError):
        # Without a limit, the file is missing or contains `max`.
        return count
    return min(count, math.ceil(time / period))


def untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Disables tf.data's autotuner for a dataset; stages with AUTOTUNE then use all cores, at most 16.

    When the CPU is busy, the autotuner's thread can miss that an iterator has ended. It then sleeps for as long again as the iterator has
    lived, at most a minute, and deleting the iterator waits for it (TensorFlow 2.15.1). `tf.distribute` has its own autotuner for the
    elements that it sends to the devices; this function does not affect it.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
