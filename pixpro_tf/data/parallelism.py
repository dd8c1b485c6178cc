"""Parallelism of tf.data pipelines: how many elements are processed at once."""

import tensorflow as tf


def untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Disables tf.data's autotuner for a dataset; stages with AUTOTUNE then use all cores, at most 16.

    When the CPU is busy, the autotuner's thread can miss that an iterator has ended. It then sleeps for as long again as the iterator has
    lived, at most a minute, and deleting the iterator waits for it (TensorFlow 2.15.1). `tf.distribute` has its own autotuner for the
    elements that it sends to the devices; this function does not affect it.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
