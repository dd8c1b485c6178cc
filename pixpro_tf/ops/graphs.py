"""Tracing of graphs without AutoGraph."""

import inspect
from collections.abc import Callable
from typing import TypeVar

import tensorflow as tf

Function = TypeVar("Function", bound=Callable)


def as_written(function: Function) -> Function:
    """Excludes a function, and everything that it calls, from conversion by AutoGraph.

    No Python statement in these functions may branch or loop on a tensor. AutoGraph converts every function that is called while a
    graph is traced, which takes a third of the time until the first step of a run. Custom objectives may rely on AutoGraph; the
    project's own layers, objectives and crops use TensorFlow's control flow.

    Args:
        function: a function, or a method in the body of its class.

    Examples:
        >>> from pixpro_tf.ops.graphs import as_written
        >>> @as_written
        ... def double(x):
        ...     return 2 * x
        >>> double(3)
        6
    """
    kept = tf.autograph.experimental.do_not_convert(function)
    # Keras reads the names of a layer's arguments from the signature.
    kept.__signature__ = inspect.signature(function)
    return kept
