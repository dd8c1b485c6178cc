"""Measures the cost of a training step in this process."""

import itertools
import time

import pixpro_tf  # noqa: F401 - chooses Keras 2, so it comes before TensorFlow

# isort: split
import tensorflow as tf

from benchmarks import measuring
from benchmarks.flops import flops_of
from benchmarks.step import PRODUCTS, STEPS_PER_EPOCH, WARM_UP, Case, Cost
from pixpro_tf import build
from pixpro_tf.config import Config
from pixpro_tf.training.strategy import make_strategy, set_numerics


def measure(case: Case) -> Cost:
    """Measures a case in this process."""
    config = case.config()
    set_numerics(config)
    strategy = make_strategy(config.strategy)
    gpus = tf.config.list_physical_devices("GPU")
    batch = random_batch(config, config.batch_size)

    started = time.perf_counter()
    model, step = model_and_step(config, strategy, batch)
    step()
    first_step = time.perf_counter() - started
    for _ in range(WARM_UP):
        step()
    if gpus:
        megabytes = tf.config.experimental.get_memory_info("GPU:0")["peak"] / 1e6
    else:
        megabytes = measuring.memory()["VmHWM"]

    def colours():
        assert model.photometric is not None
        for view in (1, 2):
            last = model.photometric(batch[f"view_{view}"], batch["seed"], view)
        return float(last[0, 0, 0, 0])

    rows = PRODUCTS["GPU" if gpus else "CPU"]
    matrix = tf.cast(tf.random.stateless_normal([rows, rows], [0, 0]), case.precision)

    @tf.function
    def multiply():
        return tf.matmul(matrix, matrix)[0, 0]

    def product():
        return float(multiply())

    product()
    works = [step, product] + ([colours] if config.augment_on == "device" else [])
    seconds, products, *rest = measuring.in_turns(works, case.repeats)
    name = "CPU"
    if gpus:
        name = tf.config.experimental.get_device_details(gpus[0])["device_name"]
    # Counted last, because counting leaves a graph in memory.
    flops = flops_of(model.train_step, batch)
    peak = [2 * rows**3 / each for each in products]
    return Cost(name, flops, seconds, peak, rest[0] if rest else [], megabytes, first_step)


def model_and_step(config: Config, strategy, batch) -> tuple:
    """Builds the model of a run, and a function that trains it for one step on a batch, as `fit` does, and returns the loss.

    Args:
        config: flags of the run.
        strategy: strategy of `tf.distribute`.
        batch: batch as a distributed dataset yields it.
    """
    config = config.with_epochs(STEPS_PER_EPOCH)
    with strategy.scope():
        learning_rate = build.build_schedule(config, STEPS_PER_EPOCH)
        model = build.build_compiled_model(config, learning_rate, config.epochs * STEPS_PER_EPOCH)
    train, endless = model.make_train_function(), itertools.repeat(batch)
    return model, lambda: float(train(endless)["loss"])


def random_batch(config: Config, batch_size: int) -> dict:
    """Returns a random batch in the format of the input pipeline."""

    def view(seed):
        shape = [batch_size, config.image_size, config.image_size, config.image_channels.count]
        if config.augment_on == "device":
            levels = tf.random.stateless_uniform(shape, [0, seed], 0, 256, tf.int32)
            return tf.cast(levels, tf.uint8)
        return tf.random.stateless_normal(shape, [0, seed])

    def boxes(*box):
        return tf.constant([box] * batch_size)

    batch = {
        "view_1": view(1),
        "view_2": view(2),
        "box_1": boxes(0.1, 0.1, 0.7, 0.8),
        "box_2": boxes(0.9, 0.2, 0.2, 0.9),
    }
    if config.augment_on == "device":
        batch["seed"] = tf.random.stateless_uniform([batch_size, 2], [0, 3], None, None, tf.int32)
    return batch
