"""Graphs traced from Python as it is written."""

import inspect
from collections.abc import Callable
from typing import TypeVar

import tensorflow as tf

Function = TypeVar("Function", bound=Callable)


def as_written(function: Function) -> Function:
    """Keeps AutoGraph out of a function and of all that it calls, where no Python statement branches or loops on a tensor.

    AutoGraph rewrites every function that it meets while a graph is traced, which takes a third of the time until a run's first step.
    Objectives of others may rely on it; the project's own layers, objectives and crops use TensorFlow's control flow.

    Args:
        function: a function, or a method in the body of its class.

    Example:
        >>> from pixpro_tf.ops.graphs import as_written
        >>> @as_written
        ... def double(x):
        ...     return 2 * x
        >>> double(3)
        6
    """
    kept = tf.autograph.experimental.do_not_convert(function)
    # Keras reads the names of a layer's arguments.
    kept.__signature__ = inspect.signature(function)
    return kept
