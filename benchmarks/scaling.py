"""Measures how a training step scales over the cores of this machine, and computes an estimate for clusters.

    python -m benchmarks.scaling
    python -m benchmarks.scaling --tflops=40 --pairs_per_core=148

The first table is measured: replicas are logical CPUs of one process, or processes that communicate over loopback. N replicas use N cores,
and each of several processes uses one (Linux only). Strong scaling keeps the global batch, weak scaling the per-replica batch; `efficiency`
is relative to one replica on one core. The next lines describe what replica 0 sums with the others in a step.

The last table is computed for clusters, by the formula in `clusters.py`: the seconds of a step without any overlap of computation and
communication, an upper bound.

--tflops is the sustained throughput of an accelerator, an assumption unless it was measured with `benchmarks.step`. --pairs_per_core,
measured with `benchmarks.data`, adds the number of cores that the input pipeline of each accelerator needs.
"""

import contextlib
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from benchmarks import measuring
from benchmarks.clusters import Cost, Network, forecast, forecast_table, parts_of
from benchmarks.step import WARM_UP
from pixpro_tf.backbones.architectures import ARCHITECTURES
from pixpro_tf.cli.commands import Command
from pixpro_tf.cli.settings import CheckedSettings
from pixpro_tf.config import Config
from pixpro_tf.config.flag import INTERNAL, flag, refuse
from pixpro_tf.errors import RunError

ALONE, LOGICAL_CPUS, PROCESSES = "core", "logical CPUs", "processes"
# Names of the strategies in train.py.
STRATEGIES = {ALONE: "one_device", LOGICAL_CPUS: "mirrored", PROCESSES: "multi_worker"}
CLUSTERS = (8, 64, 512)
MEBIBYTE = 2**20
# Batch sizes of the main recipe: global, and per accelerator.
GLOBAL_BATCH, BATCH_EACH = 1024, 128


@dataclasses.dataclass(frozen=True)
class Case:
    """Number of replicas, with one core each, and the global batch that they share."""

    devices: str
    replicas: int
    batch_size: int
    backbone: str
    image_size: int
    repeats: int


def measure(case: Case, index: int) -> Cost:
    """Measures a case in this process, which is the only one or one of several."""
    cores = sorted(os.sched_getaffinity(0))
    # Bound before TensorFlow creates its threads, one per core.
    mine = [cores[index]] if case.devices == PROCESSES else cores[: case.replicas]
    os.sched_setaffinity(0, mine)
    from benchmarks.flops import flops_of
    from benchmarks.step_cost import model_and_step, random_batch
    from pixpro_tf.training.strategy import make_strategy, set_numerics

    config = Config(
        strategy=STRATEGIES[case.devices],
        num_devices=case.replicas if case.devices == LOGICAL_CPUS else 0,
        backbone=case.backbone,
        batch_size=case.batch_size,
        image_size=case.image_size,
    )
    set_numerics(config)
    strategy = make_strategy(config.strategy, num_devices=config.num_devices)
    share = case.batch_size // case.replicas
    batch = random_batch(config, share)
    batches = strategy.experimental_distribute_values_from_function(lambda _: batch)
    model, step = model_and_step(config, strategy, batches)
    with _counting() as reduced:
        step()
    for _ in range(WARM_UP):
        step()
    seconds = [measuring.seconds_of(step) for _ in range(case.repeats)]
    parameter_bytes = sum(
        weight.shape.num_elements() * weight.dtype.size for weight in model.trainable_variables
    )
    flops = flops_of(model.train_step, batch) if case.devices == ALONE else 0
    return Cost(seconds, reduced, parameter_bytes, flops / share)


@contextlib.contextmanager
def _counting() -> Iterator[list[int]]:
    """Records the bytes of each sum over replicas that replica 0 requests while its step is traced."""
    import tensorflow as tf

    of_context, reduced = tf.distribute.ReplicaContext, []
    all_reduce = of_context.all_reduce

    def counted(context, operation, values, *arguments, **options):
        if tf.get_static_value(context.replica_id_in_sync_group) == 0:
            tensors = tf.nest.map_structure(tf.convert_to_tensor, tf.nest.flatten(values))
            reduced.append(sum(each.shape.num_elements() * each.dtype.size for each in tensors))
        return all_reduce(context, operation, values, *arguments, **options)

    of_context.all_reduce = counted
    try:
        yield reduced
    finally:
        of_context.all_reduce = all_reduce


def measured_apart(case: Case) -> Cost:
    """Measures a case in one process, or in one process per replica; if one fails, all are stopped.

    Raises:
        RunError: if a process failed, with the last line of its errors.
    """
    count = case.replicas if case.devices == PROCESSES else 1
    workers = [f"127.0.0.1:{port}" for port in measuring.free_ports(count)]
    with contextlib.ExitStack() as stack:
        started = []
        for index in range(count):
            task = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
            command = [sys.executable, "-m", "benchmarks.scaling"]
            command += [f"--case={json.dumps(vars(case))}", f"--index={index}"]
            # Files instead of pipes, because nothing reads the output before the end.
            output, complaints = (
                stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(2)
            )
            process = subprocess.Popen(
                command,
                env=os.environ | {"TF_CONFIG": json.dumps(task)},
                stdout=output,
                stderr=complaints,
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            started.append((process, output, complaints))
        running = True
        while running:
            time.sleep(0.1)
            running = False
            for process, _, complaints in started:
                running |= process.poll() is None
                if process.returncode:
                    complaints.seek(0)
                    why = measuring.reason(process.returncode, complaints.read())
                    raise RunError(f"{case.replicas} {case.devices} failed: {why}")
        output = started[0][1]
        output.seek(0)
        return Cost(**json.loads(output.read().splitlines()[-1]))


def measured_table(costs: dict[Case, Cost], batch_size: int) -> str:
    """Formats a row for each case: images per second, and efficiency relative to one replica."""
    lines = [
        f"{'replicas':<22}{'scaling':<9}{'batch':>6}{'images/s':>10}  {'s/step':<24}{'efficiency':>10}"
    ]
    most = max(case.replicas for case in costs)
    for case, cost in costs.items():
        kinds = ["strong"] if case.batch_size == batch_size else []
        kinds += ["weak"] if case.batch_size == batch_size // most * case.replicas else []
        for kind in kinds:
            alone = batch_size if kind == "strong" else batch_size // most
            base = costs[dataclasses.replace(case, devices=ALONE, replicas=1, batch_size=alone)]
            rate = case.batch_size / statistics.median(cost.seconds)
            efficiency = rate / case.replicas / (alone / statistics.median(base.seconds))
            seconds = (
                f"{statistics.median(cost.seconds):.3f} ({measuring.spread(cost.seconds, '.3f')})"
            )
            name = f"{case.replicas} {case.devices}"
            lines.append(
                f"{name:<22}{kind:<9}{case.batch_size:>6}{rate:>10.2f}  {seconds:<24}{efficiency:>10.0%}"
            )
    return "\n".join(lines)


def reduced_text(cost: Cost) -> str:
    """Describes what a step sums over replicas."""
    gradients, others = parts_of(cost.reduced)
    return (
        f"each step sums over replicas: gradients, {gradients / MEBIBYTE:.1f} MiB in one call ({gradients / cost.parameter_bytes:.4f} of the trained "
        f"parameters' {cost.parameter_bytes / MEBIBYTE:.1f} MiB); {len(others)} other tensors, nearly all of them moments of batch norm and their "
        f"gradients, {sum(others) / MEBIBYTE:.2f} MiB in total, one after another"
    )


def _cases(flags: "Settings") -> list[Case]:
    most = max(flags.replicas)
    cases = []
    for replicas in flags.all_replicas:
        for devices in (LOGICAL_CPUS, PROCESSES) if replicas > 1 else (ALONE,):
            for batch_size in (flags.batch_size, flags.batch_size // most * replicas):
                case = Case(
                    devices, replicas, batch_size, flags.backbone, flags.image_size, flags.repeats
                )
                if case not in cases:
                    cases.append(case)
    return cases


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(CheckedSettings):
    """Cases to measure, and clusters to compute."""

    backbone: str = flag("resnet50", "Measured", "architecture", choices=tuple(ARCHITECTURES))
    batch_size: int = flag(
        8, "Measured", "global batch size in strong scaling", unit="images", minimum=1
    )
    image_size: int = flag(224, "Measured", "side of a view", unit="pixels", minimum=1)
    replicas: tuple[int, ...] = flag(
        (1, 2), "Measured", "numbers of replicas, separated by commas", minimum=1
    )
    repeats: int = flag(5, "Measured", "number of timed steps per case", minimum=1)
    tflops: float = flag(
        40.0, "Computed", "sustained throughput of an accelerator", unit="1e12 FLOP/s", minimum=1e-6
    )
    per_host: int = flag(8, "Computed", "number of accelerators per host", minimum=1)
    link: float = flag(
        150.0, "Computed", "bandwidth between accelerators of a host, one way", unit="GB/s"
    )
    link_latency: float = flag(
        5.0, "Computed", "latency between accelerators of a host", unit="microseconds"
    )
    network: float = flag(12.5, "Computed", "bandwidth between hosts, one way", unit="GB/s")
    network_latency: float = flag(20.0, "Computed", "latency between hosts", unit="microseconds")
    pairs_per_core: float = flag(
        0.0,
        "Computed",
        "pairs of views that a core of a host prepares per second; 0 if unknown",
        minimum=0,
    )
    json: str = flag("", "Output", "JSON file for the results; empty to write none")
    case: str = flag("", INTERNAL, "one case, as JSON")
    index: int = flag(0, INTERNAL, "index of the process in the case")

    def __post_init__(self) -> None:
        super().__post_init__()
        for count in self.all_replicas:
            if self.batch_size % count:
                refuse(self, "batch_size", f"must be divisible by the number of replicas, {count}")
        for count in CLUSTERS:
            if count % min(count, self.per_host):
                refuse(
                    self,
                    "per_host",
                    f"does not divide {count} accelerators into whole hosts; use a power of two",
                )
        if self.case:
            return
        cores, most = len(os.sched_getaffinity(0)), max(self.replicas)
        if most > cores:
            refuse(
                self,
                "replicas",
                f"exceeds the {cores} cores of this machine; use at most one replica per core",
            )
        if most == 1:
            refuse(self, "replicas", "must contain a number greater than 1; use e.g. 1,2")

    @property
    def all_replicas(self) -> list[int]:
        """Sorted numbers of replicas; always contains 1, the baseline."""
        return sorted({1, *self.replicas})


def _run(flags: Settings) -> None:
    if flags.case:
        print(json.dumps(vars(measure(Case(**json.loads(flags.case)), flags.index))))
        return

    costs = {case: measured_apart(case) for case in _cases(flags)}
    print(measured_table(costs, flags.batch_size))
    shared = next(cost for case, cost in costs.items() if case.replicas > 1)
    alone = next(cost for case, cost in costs.items() if case.replicas == 1)
    network = Network(
        flags.per_host,
        flags.link * 1e9,
        flags.link_latency / 1e6,
        flags.network * 1e9,
        flags.network_latency / 1e6,
    )
    print(f"\n{reduced_text(shared)}\n")
    shared = dataclasses.replace(shared, flops_per_image=alone.flops_per_image)
    strong = [(count, GLOBAL_BATCH // count) for count in CLUSTERS]
    weak = [(count, BATCH_EACH) for count in CLUSTERS if count * BATCH_EACH != GLOBAL_BATCH]
    forecasts = [forecast(shared, network, flags.tflops, *each) for each in strong + weak]
    print(
        f"computed for accelerators that sustain {flags.tflops:g} TFLOP/s, {flags.per_host} per host with links of {flags.link:g} GB/s and "
        f"{flags.link_latency:g} us, and {flags.network:g} GB/s and {flags.network_latency:g} us between hosts; "
        f"{shared.flops_per_image / 1e9:.1f} GFLOP per image"
    )
    print(forecast_table(forecasts, flags.pairs_per_core))
    if flags.json:
        results = [{"case": vars(case), "cost": vars(cost)} for case, cost in costs.items()]
        content = {"flags": vars(flags), "measured": results}
        content["computed"] = [dataclasses.asdict(each) for each in forecasts]
        with open(flags.json, "w") as file:
            json.dump(content, file, indent=2)


main = Command(Settings, __doc__, "python -m benchmarks.scaling", _run)

if __name__ == "__main__":
    sys.exit(main())
