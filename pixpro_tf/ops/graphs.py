"""Tracing of graphs without AutoGraph, and their compilation by XLA."""

import functools
import importlib.metadata
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


@functools.cache
def is_tensorflow_for_tpus() -> bool:
    """Returns whether the installed TensorFlow is the package for TPUs.

    Examples:
        >>> from pixpro_tf.ops import graphs
        >>> graphs.is_tensorflow_for_tpus()
        False
    """
    try:
        importlib.metadata.version("tensorflow-tpu")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def compiled_by_xla(function: Callable) -> Callable:
    """Returns a graph function that XLA compiles.

    The TensorFlow for TPUs cannot compile for the CPUs of its host. There, the function is a plain graph on the host, and is compiled as a
    part of the step on the TPU.

    Args:
        function: Python function of tensors and Python values; it is traced as written.

    Examples:
        >>> from pixpro_tf.ops import graphs
        >>> import tensorflow as tf
        >>> int(graphs.compiled_by_xla(lambda x: 2 * x)(tf.constant(3)))
        6
    """
    jit_compile = None if is_tensorflow_for_tpus() else True
    return tf.function(function, jit_compile=jit_compile, autograph=False)
