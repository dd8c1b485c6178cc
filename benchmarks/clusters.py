"""Computes how a training step scales over clusters, from what a step costs here.

Seconds of a step without any overlap of computation and communication, an upper bound:

    step = compute + all_reduce(gradients) + moments * all_reduce(bytes of moments)
    compute = FLOP of an image * images of a replica / (--tflops * 1e12)
    all_reduce(n) = 2 (d - 1) (n / d / link + latency of a link)                within a host, d accelerators in a ring
                  + the smaller of                                               between h hosts
                        2 (h - 1) (n / h / network + latency of the network)      a ring
                        2 (n / network + log2(h) * latency of the network)        a tree
"""

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Cost:
    """Seconds of each step, and bytes of each sum over replicas, in the order in which a step computes them."""

    seconds: list[float]
    reduced: list[int]
    parameter_bytes: int
    flops_per_image: float


@dataclasses.dataclass(frozen=True)
class Network:
    """Bytes per second in one direction and seconds of latency, between the accelerators of a host and between hosts."""

    per_host: int
    link: float
    link_latency: float
    network: float
    network_latency: float

    def all_reduce(self, size: float, accelerators: int) -> float:
        """Computes the seconds of a sum of `size` bytes, by the formula in the docstring of this module."""
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
    """Seconds of a step on a cluster, by what they are spent on."""

    accelerators: int
    batch_each: int
    compute: float
    gradients: float
    moments: float

    @property
    def step(self) -> float:
        """Seconds of a step."""
        return self.compute + self.gradients + self.moments

    @property
    def images_per_second(self) -> float:
        """Throughput of the whole cluster."""
        return self.accelerators * self.batch_each / self.step


def forecast(
    cost: Cost, network: Network, tflops: float, accelerators: int, batch_each: int
) -> Forecast:
    """Computes the time of a step on a cluster.

    Args:
        cost: measured cost of several replicas.
        network: network of the cluster.
        tflops: sustained throughput of an accelerator in 1e12 FLOP/s.
        accelerators: number of accelerators; a multiple of those per host, or fewer.
        batch_each: images per accelerator.
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
    """Splits the sums over replicas into the bytes of the gradients and of every other sum.

    The gradients are summed in one call, which is by far the largest; nearly all other sums are moments of batch norm.
    """
    at = reduced.index(max(reduced))
    return reduced[at], reduced[:at] + reduced[at + 1 :]


def forecast_table(forecasts: list[Forecast], pairs_per_core: float) -> str:
    """Formats a row for each cluster; efficiency is the share of computation in a step."""
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
