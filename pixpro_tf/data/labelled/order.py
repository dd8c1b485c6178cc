"""Order of the examples of an evaluation: files in a mixed order, and training in a random one."""

import random
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

_EXAMPLES, _BYTES = 2000, 1 << 30


def mixed(files: Sequence[Any]) -> list[Any]:
    """Returns files in another order, always the same one.

    Names often sort by class, place or time. Training shuffles decoded images, of which only some fit into memory at a time, so their order
    must not have a meaning.
    """
    return random.Random(0).sample(files, len(files))


def shuffled(examples: tf.data.Dataset, bytes_each: int, seed: int) -> tf.data.Dataset:
    """Shuffles decoded examples, differently in each pass, with a buffer that fits into memory.

    Args:
        examples: dataset of examples.
        bytes_each: size of one example.
        seed: seed of the order.
    """
    return examples.shuffle(min(_EXAMPLES, 1 + _BYTES // bytes_each), seed=seed)
