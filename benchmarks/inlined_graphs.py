"""Graphs of TensorFlow functions with everything that the functions call, for counting what a graph does."""

from collections.abc import Callable

import pixpro_tf  # noqa: F401 - chooses Keras 2, so it comes before TensorFlow

# isort: split
import tensorflow as tf


def inlined_graph(function: Callable, *arguments):
    """Returns the graph of a function, in which the calls of other graph functions, but not loops, are replaced by their operations.

    Args:
        function: Python function of tensors, whose sizes must be known when it is traced.
        arguments: arguments of the function, or their `tf.TensorSpec`.
    """
    # Running eagerly inlines the calls.
    eagerly = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        return tf.function(function, autograph=False).get_concrete_function(*arguments).graph
    finally:
        tf.config.run_functions_eagerly(eagerly)


def needed_operations(graph) -> list:
    """Returns the operations that a graph function runs, in the order of their creation.

    It leaves out those that no output needs, such as the gradient with respect to the views.
    """
    found: set[str] = set()
    waiting = [tensor.op for tensor in graph.outputs] + list(graph.control_outputs)
    while waiting:
        operation = waiting.pop()
        if operation.name not in found:
            found.add(operation.name)
            waiting += [tensor.op for tensor in operation.inputs] + list(operation.control_inputs)
    return [operation for operation in graph.get_operations() if operation.name in found]
