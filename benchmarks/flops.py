"""Counts the floating-point operations of a TensorFlow function: convolutions and matrix products, nearly all of them."""

import math
from collections.abc import Callable

from benchmarks.inlined_graphs import inlined_graph, needed_operations

CONVOLUTIONS = ("Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter")
PRODUCTS = ("MatMul", "BatchMatMul", "BatchMatMulV2", "Einsum")


def flops_of(function: Callable, *arguments) -> int:
    """Counts two operations for each multiplication and the addition that follows it, whatever a kernel really does.

    Functions within the function count at each of their calls. Loops that contain a product are rejected, because their number of iterations
    is unknown.

    Args:
        function: Python function of tensors, whose sizes must be known when it is traced.
        arguments: arguments of the function.
    """
    graph = inlined_graph(function, *arguments)
    functions = {each.signature.name: each for each in graph.as_graph_def().library.function}
    needed = needed_operations(graph)
    for operation in needed:
        if operation.type in ("While", "StatelessWhile"):
            for node in functions[operation.get_attr("body").name].node_def:
                if node.op in CONVOLUTIONS + PRODUCTS:
                    raise ValueError(
                        f"{node.op} {node.name} is in a loop with an unknown number of iterations"
                    )
    return sum(map(_flops, needed))


def _flops(operation) -> int:
    if operation.type in CONVOLUTIONS:
        # Each output value of a convolution takes one product per value of its filter; each of the two gradients takes as many in total.
        forward = operation.type == "Conv2D"
        output = operation.outputs[0] if forward else operation.inputs[2]
        of_filter = operation.type == "Conv2DBackpropFilter"
        kernel = operation.outputs[0] if of_filter else operation.inputs[1]
        return 2 * output.shape.num_elements() * math.prod(kernel.shape[:3])
    if operation.type == "Einsum":
        return _flops_of_einsum(operation)
    if operation.type in PRODUCTS:
        transposed = "transpose_a" if operation.type == "MatMul" else "adj_x"
        shared = operation.inputs[0].shape[-2 if operation.get_attr(transposed) else -1]
        return 2 * operation.outputs[0].shape.num_elements() * shared
    return 0


def _flops_of_einsum(operation) -> int:
    inputs, output = operation.get_attr("equation").decode().split("->")
    summed: dict[str, int] = {}
    for term, tensor in zip(inputs.split(","), operation.inputs, strict=True):
        # Labels are counted from the nearer end, because "..." may stand for any number of axes.
        before, _, behind = term.partition("...")
        shape = tensor.shape.as_list()
        summed |= dict(zip(before, shape, strict=False))
        summed |= dict(zip(reversed(behind), reversed(shape), strict=False))
    sizes = [size for label, size in summed.items() if label not in output]
    return 2 * operation.outputs[0].shape.num_elements() * math.prod(sizes)
