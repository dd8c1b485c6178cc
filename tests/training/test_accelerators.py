"""Training step for accelerators: it contains no operation that only a host can perform, or that is not deterministic on GPUs."""

import json
import re
import subprocess

import pytest

import pixpro_tf  # noqa: F401 - chooses Keras 2, so it comes before TensorFlow

# isort: split
import tensorflow as tf
from tensorflow.compiler.tf2xla.ops.gen_xla_ops import xla_all_reduce

from benchmarks.step_cost import random_batch
from pixpro_tf import build
from pixpro_tf.config import Config
from pixpro_tf.ops import normalization
from tests.conftest import ROOT
from tests.support import warm
from tests.support.accelerators import OBJECTIVES, STEP, has_kernel, types_of, without_kernel

# TensorFlow rejects these operations on GPUs if operations must be deterministic, as is the default here (release notes of 2.8).
REFUSED_ON_GPUS = {
    "AdjustContrastv2",
    "Bincount",
    "CropAndResizeGradBoxes",
    "CropAndResizeGradImage",
    "DenseBincount",
    "DepthwiseConv2dNativeBackpropFilter",
    "Dilation2DBackpropFilter",
    "Dilation2DBackpropInput",
    "FakeQuantWithMinMaxVarsGradient",
    "FakeQuantWithMinMaxVarsPerChannelGradient",
    "FusedBatchNormGradV3(is_training=False)",
    "HistogramFixedWidth",
    "MaxPool3DGrad",
    "MaxPoolGradWithArgmax",
    "QuantizeAndDequantizeV4Grad",
    "ResizeNearestNeighborGrad",
    "SparseTensorDenseMatMul",
    "Timestamp",
    # XLA makes these sums deterministic by a loop over all elements.
    "UnsortedSegmentSum(floats)",
}

# These run on the host although TensorFlow lets them be placed on a GPU.
ON_HOSTS = {
    "EagerPyFunc",
    "HashTableV2",
    "IteratorGetNext",
    "LookupTableFindV2",
    "PyFunc",
    "PyFuncStateless",
}

FORBIDDEN = {
    "float64": r"\bf64\[",
    "a size that is known only at run time": r"\[[^\]]*<=",
    "a call outside the program": r"\b(custom-call|infeed|outfeed|send|recv|send-done|recv-done)\(",
}


def compiled_step(**flags):
    """Returns the XLA program of a whole step as TensorFlow emits it, before it is compiled for a specific device."""
    config = Config(jit="step", **(STEP | flags))
    tf.keras.utils.set_random_seed(0)
    rate = build.build_schedule(config, steps_per_epoch=2)
    model = build.build_compiled_model(config, rate, total_steps=10)
    step = tf.function(model.train_step, jit_compile=True)
    return step.experimental_get_compiler_ir(random_batch(config, config.batch_size))(stage="hlo")


def assert_device_can_run(program):
    assert "ENTRY" in program and "convolution(" in program
    for what, pattern in FORBIDDEN.items():
        found = [line.strip() for line in program.splitlines() if re.search(pattern, line)]
        assert not found, (what, found[:3])


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        {"precision": "bfloat16", "augmentation": "byol"},
        {"augmentation": "rand_augment", "instance_weight": 1.0, "instance_loss": "contrastive"},
        {"augmentation": "none", "pixel_loss": "pixcontrast", "pixel_levels": "p3,p4"},
    ],
    ids=["pixpro", "instance", "fpn"],
)
def test_step_contains_no_host_operations(flags):
    program = compiled_step(**flags)
    assert ("bf16[" in program) == (flags.get("precision") == "bfloat16")
    assert_device_can_run(program)


@pytest.mark.parametrize(
    ("what", "function"),
    [
        ("float64", lambda values: tf.cast(values, tf.float64) * 2),
        ("a size that is known only at run time", lambda values: tf.where(values > 0)),
        ("a call outside the program", lambda values: tf.linalg.qr(values[None] * values[:, None])),
    ],
)
def test_check_detects_forbidden_operations(what, function):
    program = tf.function(function, jit_compile=True).experimental_get_compiler_ir(tf.ones([5]))
    assert re.search(FORBIDDEN[what], program(stage="hlo"))


class OneOfTwoReplicas:
    """Context of one of two replicas, as a TPU compiles it: a sum over replicas is an operation of the program."""

    num_replicas_in_sync = 2
    replica_id_in_sync_group = 0

    def all_reduce(self, operation, values):
        assert operation == "SUM"
        return tf.nest.map_structure(self._sum, values)

    def _sum(self, values):
        values = tf.convert_to_tensor(values)
        if not has_kernel("XlaAllReduce", {"T": tf.float32.as_datatype_enum}, "XLA_CPU_JIT"):
            # TensorFlow 2.15 compiles sums over replicas for TPUs only.
            return values + values
        return xla_all_reduce(values, [[0, 1]], reduce_op="Add", mode="CrossReplica")

    def all_gather(self, values, axis):
        return tf.concat([values, values], axis)

    def merge_call(self, function, args):
        return function(DEFAULT_STRATEGY, *args)


DEFAULT_STRATEGY = tf.distribute.get_strategy()


@pytest.mark.slow
@pytest.mark.parametrize("objectives", OBJECTIVES)
def test_step_of_two_replicas_contains_no_host_operations(objectives, monkeypatch):
    monkeypatch.setattr(tf.distribute, "get_replica_context", OneOfTwoReplicas)
    monkeypatch.setattr(tf.distribute, "get_strategy", OneOfTwoReplicas)
    # The program that a TPU gets, which sums columns without matrix products.
    monkeypatch.setattr(normalization, "on_cpu", lambda: False)
    assert_device_can_run(compiled_step(precision="bfloat16", **OBJECTIVES[objectives]))


@pytest.fixture(
    scope="module",
    params=[
        ("regression-bfloat16", "contrast-float16"),
        pytest.param(
            (
                "regression-float32",
                "regression-float16",
                "contrast-float32",
                "contrast-bfloat16",
            ),
            marks=pytest.mark.thorough,
        ),
    ],
    ids=["quickest", "others"],
)
def steps_of_two_replicas(request):
    """Operations of each case's step, as `tests.support.accelerators` describes them."""
    process = subprocess.run(
        warm.python("-m", "tests.support.accelerators", ",".join(request.param)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    read = json.loads(process.stdout)
    assert list(read) == list(request.param)
    return read


@pytest.mark.slow
def test_gpus_have_a_kernel_for_every_operation_of_the_step(steps_of_two_replicas):
    for case, read in steps_of_two_replicas.items():
        assert {"Conv2DBackpropFilter", "ResourceApplyMomentum"} <= set(read["operations"]), case
        # The normalisation over replicas, and the propagation or the loss of large maps.
        assert {"Rsqrt", "Sum"} <= set(read["operations"]) and "BatchMatMulV2" in read[
            "compiled"
        ], case
        assert not read["without_kernel"], case
        assert not ON_HOSTS.intersection(read["operations"]), case


@pytest.mark.slow
def test_step_is_deterministic_on_gpus(steps_of_two_replicas):
    for case, read in steps_of_two_replicas.items():
        assert not REFUSED_ON_GPUS.intersection(read["operations"]), case


def test_operations_without_a_kernel_on_gpus_are_found():
    def function(values):
        doubled = tf.py_function(lambda value: 2 * value, [values], tf.float32)
        return tf.strings.length(tf.strings.as_string(doubled))

    graph = tf.function(function).get_concrete_function(tf.TensorSpec([2])).graph
    nodes = [node for node in graph.as_graph_def().node if node.op != "Placeholder"]
    found = without_kernel([(node.op, types_of(node), False) for node in nodes])
    assert [line.split()[0] for line in found] == ["AsString", "StringLength"]
    assert "EagerPyFunc" in {node.op for node in nodes} & ON_HOSTS


@pytest.mark.parametrize(
    ("types", "device", "expected"),
    [
        ({"T": tf.float32.as_datatype_enum}, "GPU", True),
        ({"T": tf.bfloat16.as_datatype_enum}, "GPU", True),
        ({"T": tf.int8.as_datatype_enum}, "GPU", False),
        ({"T": tf.float32.as_datatype_enum}, "XLA_GPU_JIT", True),
        ({"T": tf.string.as_datatype_enum}, "XLA_GPU_JIT", False),
    ],
)
def test_registry_distinguishes_types_and_devices(types, device, expected):
    assert has_kernel("MaxPoolGrad", types, device) == expected
