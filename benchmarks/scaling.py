"""How a training step scales: measured on this machine's cores, and computed for clusters.

    python -m benchmarks.scaling
    python -m benchmarks.scaling --tflops=40 --pairs_per_core=148

First, measured: replicas as logical CPUs of one process, and as processes that talk over loopback. N replicas have N cores, one process
one core (Linux only). Strong scaling gives all numbers of replicas the same global batch, weak scaling the same batch to each replica;
`efficiency` is against one replica on one core. Then what replica 0 hands to the others in a step, by what it is.

Last, for clusters, the seconds of a step without any overlap of computing and communicating, an upper bound:

    step = compute + all_reduce(gradients) + moments * all_reduce(bytes of moments)
    compute = FLOP of an image * images of a replica / (--tflops * 1e12)
    all_reduce(n) = 2 (d - 1) (n / d / link + latency of a link)                within a host, d accelerators in a ring
                  + the smaller of                                               between h hosts
                        2 (h - 1) (n / h / network + latency of the network)      a ring
                        2 (n / network + log2(h) * latency of the network)        a tree

--tflops is what an accelerator sustains, and an assumption unless `benchmarks.step` has been run on one. With --pairs_per_core, from
`benchmarks.data`, also the cores that each accelerator needs for its pictures.
"""

import contextlib
import dataclasses
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from benchmarks import measuring
from benchmarks.step import WARM_UP
from pixpro_tf.backbones.architectures import ARCHITECTURES
from pixpro_tf.cli.commands import Command
from pixpro_tf.cli.settings import CheckedSettings
from pixpro_tf.config import Config
from pixpro_tf.config.flag import INTERNAL, flag, refuse

ALONE, LOGICAL_CPUS, PROCESSES = "core", "logical CPUs", "processes"
# As train.py names them.
STRATEGIES = {ALONE: "one_device", LOGICAL_CPUS: "mirrored", PROCESSES: "multi_worker"}
CLUSTERS = (8, 64, 512)
MEBIBYTE = 2**20
# Of the main recipe.
GLOBAL_BATCH, BATCH_EACH = 1024, 128


@dataclasses.dataclass(frozen=True)
class Case:
    """A number of replicas with a core each, and the batch that they share."""

    devices: str
    replicas: int
    batch_size: int
    backbone: str
    image_size: int
    repeats: int


@dataclasses.dataclass(frozen=True)
class Cost:
    """Seconds of each step; and of each sum over replicas how many bytes it has, in the order of a step."""

    seconds: list[float]
    reduced: list[int]
    parameter_bytes: int
    flops_per_image: float


@dataclasses.dataclass(frozen=True)
class Network:
    """Bytes a second in one direction, and seconds of latency: between the accelerators of a host, and between hosts."""

    per_host: int
    link: float
    link_latency: float
    network: float
    network_latency: float

    def all_reduce(self, size: float, accelerators: int) -> float:
        """Seconds of a sum of `size` bytes; the formula is the module's."""
        each = min(self.per_host, accelerators)
        hosts = accelerators // each
        seconds = 2 * (each - 1) * (size / each / self.link + self.link_latency)
        if hosts > 1:
            ring = 2 * (hosts - 1) * (size / hosts / self.network + self.network_latency)
            tree = 2 * (size / self.network + math.log2(hosts) * self.network_latency)
            seconds += min(ring, tree)
        return seconds


@dataclasses.dataclass(frozen=True)
class Forecast:
    """Seconds of a step on a cluster, and what they are spent on."""

    accelerators: int
    batch_each: int
    compute: float
    gradients: float
    moments: float

    @property
    def step(self) -> float:
        """Seconds."""
        return self.compute + self.gradients + self.moments

    @property
    def images_per_second(self) -> float:
        """Of the whole cluster."""
        return self.accelerators * self.batch_each / self.step


def forecast(
    cost: Cost, network: Network, tflops: float, accelerators: int, batch_each: int
) -> Forecast:
    """A step on a cluster.

    Args:
        cost: of replicas that were measured.
        network: of the cluster.
        tflops: that an accelerator sustains, in 1e12 FLOP/s.
        accelerators: a multiple of a host's, or fewer.
        batch_each: images of each.
    """
    gradients, moments = parts_of(cost.reduced)
    return Forecast(
        accelerators,
        batch_each,
        cost.flops_per_image * batch_each / (tflops * 1e12),
        network.all_reduce(gradients, accelerators),
        sum(network.all_reduce(size, accelerators) for size in moments),
    )


def parts_of(reduced: list[int]) -> tuple[int, list[int]]:
    """Bytes of the gradients, which are summed at once and are by far the most, and those of every other sum, nearly all moments of BN."""
    at = reduced.index(max(reduced))
    return reduced[at], reduced[:at] + reduced[at + 1 :]


def measure(case: Case, index: int) -> Cost:
    """Measures in this process, one of several or the only one."""
    cores = sorted(os.sched_getaffinity(0))
    # Before TensorFlow makes its threads, as many as there are cores.
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
    """Notes the bytes of each sum over replicas that replica 0 asks for while its step is traced."""
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
    """Measures in one process, or in one for each replica; where one fails, none goes on.

    Raises:
        SystemExit: if one failed, with the last line of its complaints.
    """
    count = case.replicas if case.devices == PROCESSES else 1
    workers = [f"127.0.0.1:{port}" for port in measuring.free_ports(count)]
    with contextlib.ExitStack() as stack:
        started = []
        for index in range(count):
            task = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
            command = [sys.executable, "-m", "benchmarks.scaling"]
            command += [f"--case={json.dumps(vars(case))}", f"--index={index}"]
            # Files, for nobody empties pipes before the end.
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
                    sys.exit(f"{case.replicas} {case.devices} failed: {why}")
        output = started[0][1]
        output.seek(0)
        return Cost(**json.loads(output.read().splitlines()[-1]))


def measured_table(costs: dict[Case, Cost], batch_size: int) -> str:
    """A row for each case: images per second, and how near they are to as many times those of one replica."""
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
    """What a step sums over replicas."""
    gradients, others = parts_of(cost.reduced)
    return (
        f"a step sums over replicas: gradients, {gradients / MEBIBYTE:.1f} MiB in one call, {gradients / cost.parameter_bytes:.4f} of the trained "
        f"parameters' {cost.parameter_bytes / MEBIBYTE:.1f} MiB; {len(others)} others, nearly all of them moments of BN and their gradients, "
        f"{sum(others) / MEBIBYTE:.2f} MiB together, one after another"
    )


def forecast_table(forecasts: list[Forecast], pairs_per_core: float) -> str:
    """A row for each cluster; efficiency is the computing's share of a step."""
    lines = [
        f"{'accelerators':<13}{'batch':>7}{'of each':>9}{'compute':>11}{'gradients':>11}{'moments':>10}{'step':>11}{'images/s':>11}{'efficiency':>11}"
        + (f"{'cores for each':>16}" if pairs_per_core else "")
    ]
    for each in forecasts:
        cores = each.images_per_second / each.accelerators / (pairs_per_core or 1)
        lines.append(
            f"{each.accelerators:<13}{each.accelerators * each.batch_each:>7}{each.batch_each:>9}{1e3 * each.compute:>8.1f} ms"
            f"{1e3 * each.gradients:>8.1f} ms{1e3 * each.moments:>7.1f} ms{1e3 * each.step:>8.1f} ms{each.images_per_second:>11.0f}"
            f"{each.compute / each.step:>11.0%}" + (f"{cores:>16.1f}" if pairs_per_core else "")
        )
    return "\n".join(lines)


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
    """What is measured, and of which clusters it is computed."""

    backbone: str = flag("resnet50", "Measured", "architecture", choices=tuple(ARCHITECTURES))
    batch_size: int = flag(8, "Measured", "global, of strong scaling", unit="images", minimum=1)
    image_size: int = flag(224, "Measured", "side of a view", unit="pixels", minimum=1)
    replicas: tuple[int, ...] = flag((1, 2), "Measured", "with commas", minimum=1)
    repeats: int = flag(5, "Measured", "steps timed of each case", minimum=1)
    tflops: float = flag(
        40.0, "Computed", "that an accelerator sustains", unit="1e12 FLOP/s", minimum=1e-6
    )
    per_host: int = flag(8, "Computed", "accelerators of a host", minimum=1)
    link: float = flag(150.0, "Computed", "of accelerators, one way", unit="GB/s")
    link_latency: float = flag(5.0, "Computed", "of accelerators", unit="microseconds")
    network: float = flag(12.5, "Computed", "of hosts, one way", unit="GB/s")
    network_latency: float = flag(20.0, "Computed", "of hosts", unit="microseconds")
    pairs_per_core: float = flag(
        0.0, "Computed", "that a host's core makes a second; 0 is unknown", minimum=0
    )
    json: str = flag("", "Output", "file to write the results to; empty is none")
    case: str = flag("", INTERNAL, "one case, as JSON")
    index: int = flag(0, INTERNAL, "of the process of that case")

    def __post_init__(self) -> None:
        super().__post_init__()
        for count in self.all_replicas:
            if self.batch_size % count:
                refuse(self, "batch_size", f"cannot be split over {count} replicas")
        for count in CLUSTERS:
            if count % min(count, self.per_host):
                refuse(self, "per_host", f"makes no whole hosts of {count} accelerators")
        if self.case:
            return
        cores, most = len(os.sched_getaffinity(0)), max(self.replicas)
        if most > cores:
            refuse(
                self,
                "replicas",
                f"is more than this machine's {cores} cores, of which each gets one",
            )
        if most == 1:
            refuse(self, "replicas", "has nothing to scale; give a larger number too, as 1,2")

    @property
    def all_replicas(self) -> list[int]:
        """Numbers of replicas, in order; 1 is always there, to compare with."""
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
        f"computed for accelerators that sustain {flags.tflops:g} TFLOP/s, {flags.per_host} on a host with links of {flags.link:g} GB/s and "
        f"{flags.link_latency:g} us, between hosts {flags.network:g} GB/s and {flags.network_latency:g} us; "
        f"{shared.flops_per_image / 1e9:.1f} GFLOP an image"
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
