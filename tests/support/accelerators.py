"""Reads the graph of a training step on two replicas, for `test_accelerators.py`.

    python -m tests.support.accelerators CASE,CASE,...

Prints a JSON object: for each case the operations of the step, with their types, and which of them a GPU cannot perform.
"""

import json
import sys

import pixpro_tf  # noqa: F401  isort: skip

from tensorflow.core.framework import types_pb2
from tensorflow.python.framework import kernels

from benchmarks.step_cost import model_and_step, random_batch
from pixpro_tf.config import Config
from pixpro_tf.training.strategy import make_strategy
from tests.support.models import SMALL

STEP = {"backbone": "resnet10w0.5", "batch_size": 4, "augment_on": "device"} | SMALL
# Every objective is in one of these.
OBJECTIVES = {
    "regression": {"augmentation": "byol", "instance_weight": 1.0},
    "contrast": {
        "augmentation": "rand_augment",
        "pixel_loss": "pixcontrast",
        "pixel_levels": "p3,p4",
        "instance_weight": 1.0,
        "instance_loss": "contrastive",
    },
}
# Operations that only connect the parts of a graph; the runtime replaces them before it looks for kernels.
_CONNECTIONS = {"Placeholder", "PartitionedCall", "StatefulPartitionedCall", "SymbolicGradient"}


def config_of(case):
    """Returns the configuration of a case, OBJECTIVES-PRECISION."""
    objectives, precision = case.split("-")
    return Config(**STEP, **OBJECTIVES[objectives], precision=precision)


def operations_of(config):
    """Returns the graph of the step on two replicas as a list of (operation, its types by attribute, compiled by XLA)."""
    strategy = make_strategy("mirrored", num_devices=2)
    batch = random_batch(config, config.batch_size // 2)
    batches = strategy.experimental_distribute_values_from_function(lambda _: batch)
    model, _ = model_and_step(config, strategy, batches)
    graph = model._on_replicas(model.train_step).get_concrete_function(batches).graph.as_graph_def()
    functions = {each.signature.name: each for each in graph.library.function}
    compiled = [name for name, function in functions.items() if function.attr["_XlaMustCompile"].b]
    # Functions that are called within a compiled one are compiled with it.
    for name in compiled:
        compiled += [each for each in _called(functions[name]) if each not in compiled]
    found = [(node, False) for node in graph.node]
    found += [
        (node, name in compiled) for name, each in functions.items() for node in each.node_def
    ]
    return [(_name(node), types_of(node), compiled) for node, compiled in found]


def _called(function):
    return [
        value.func.name
        for node in function.node_def
        for value in node.attr.values()
        if value.func.name
    ]


def _name(node):
    """Name of an operation, with the attribute that decides whether it is deterministic on GPUs."""
    if "is_training" in node.attr and not node.attr["is_training"].b:
        return f"{node.op}(is_training=False)"
    if "Segment" in node.op and node.attr["T"].type != types_pb2.DT_INT32:
        return f"{node.op}(floats)"
    return node.op


def types_of(node):
    """Returns the types of an operation by the names of their attributes."""
    return {
        name: value.type if value.type else list(value.list.type)
        for name, value in node.attr.items()
        if (value.type or value.list.type) and not name.startswith("_")
    }


def has_kernel(operation, types, device):
    """Whether TensorFlow's registry contains a kernel of an operation for its types on a kind of device."""
    name = operation.partition("(")[0]
    return any(
        kernel.device_type in (device, "DEFAULT") and _allows(kernel, types)
        for kernel in kernels.get_registered_kernels_for_op(name).kernel
    )


def _allows(kernel, types):
    for constraint in kernel.constraint:
        wanted = types.get(constraint.name)
        wanted = wanted if isinstance(wanted, list) else [wanted]
        if not set(wanted) <= set(constraint.allowed_values.list.type):
            return False
    return True


def without_kernel(operations):
    """Returns descriptions of the operations that have no kernel on GPUs, or that XLA cannot compile for them."""
    found = set()
    for name, types, compiled in operations:
        device = "XLA_GPU_JIT" if compiled else "GPU"
        if name not in _CONNECTIONS and not has_kernel(name, types, device):
            shown = {key: str(value) for key, value in types.items()}
            found.add(f"{name} {shown} on {device}")
    return sorted(found)


def main(cases):
    read = {}
    for case in cases.split(","):
        operations = operations_of(config_of(case))
        read[case] = {
            "operations": sorted({name for name, _, _ in operations}),
            "compiled": sorted({name for name, _, compiled in operations if compiled}),
            "without_kernel": without_kernel(operations),
        }
    print(json.dumps(read))


if __name__ == "__main__":
    main(*sys.argv[1:])
