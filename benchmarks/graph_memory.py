"""Computes the peak memory of a TensorFlow function from its graph, without running it."""

from collections.abc import Callable

from benchmarks.inlined_graphs import inlined_graph, needed_operations

# Operations whose output is their input, in the same memory.
_ALIASES = {
    "EnsureShape",
    "ExpandDims",
    "Identity",
    "IdentityN",
    "PreventGradient",
    "Reshape",
    "Squeeze",
    "StopGradient",
}
# Element-wise operations, which write their output over an input that nothing else needs.
_IN_PLACE = {
    "Add",
    "AddN",
    "AddV2",
    "BiasAdd",
    "Cast",
    "Exp",
    "Maximum",
    "Minimum",
    "Mul",
    "Neg",
    "RealDiv",
    "Relu",
    "ReluGrad",
    "Rsqrt",
    "SelectV2",
    "Sqrt",
    "Square",
    "Sub",
}
# Operations whose output exists already: variables, and what the function receives or captures.
_EXISTING = {"Const", "Placeholder", "ReadVariableOp"}


def peak_bytes(function: Callable, *arguments) -> int:
    """Returns the largest number of bytes that the tensors of a function occupy at the same time.

    Operations run in the order in which they were created, and a tensor is freed after its last use. Arguments and variables do not
    count, nor do the working memory of kernels and tensors within loops.

    Args:
        function: Python function of tensors, whose sizes must be known when it is traced.
        arguments: arguments of the function, or their `tf.TensorSpec`.
    """
    graph = inlined_graph(function, *arguments)
    operations = needed_operations(graph)
    # The tensor whose memory a tensor is in, and the last operation that uses the memory of a tensor.
    owner: dict = {}
    last_use: dict = {}
    for place, operation in enumerate(operations):
        for tensor in operation.inputs:
            last_use[owner[tensor.ref()]] = place
        for index, tensor in enumerate(operation.outputs):
            aliased = operation.type in _ALIASES
            owner[tensor.ref()] = owner[operation.inputs[index].ref()] if aliased else tensor.ref()
            last_use.setdefault(owner[tensor.ref()], place)
    for tensor in graph.outputs:
        last_use[owner[tensor.ref()]] = len(operations)

    dying: dict[int, list] = {}
    for own, place in last_use.items():
        dying.setdefault(place, []).append(own)
    sizes: dict = {}
    live = highest = 0
    for place, operation in enumerate(operations):
        if operation.type not in _EXISTING | _ALIASES:
            for tensor in operation.outputs:
                # Only outputs that one kernel leaves for another have no shape; they are empty or small.
                sizes[tensor.ref()] = (tensor.shape.num_elements() or 0) * tensor.dtype.size
                live += sizes[tensor.ref()]
                if operation.type in _IN_PLACE:
                    live -= _reused(operation, sizes, owner, dying.get(place, []))
        highest = max(highest, live)
        live -= sum(sizes.pop(each, 0) for each in dying.pop(place, []))
    return highest


def _reused(operation, sizes: dict, owner: dict, dying: list) -> int:
    """Forgets the input over which an operation writes its output, if it can, and returns its bytes."""
    wanted = sizes[operation.outputs[0].ref()]
    for tensor in operation.inputs:
        own = owner[tensor.ref()]
        if own in dying and sizes.get(own) == wanted:
            return sizes.pop(own)
    return 0
