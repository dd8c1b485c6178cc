"""Cluster of the processes of a Slurm job step, from the environment variables that Slurm sets."""

import os
import re
from typing import Any

from pixpro_tf.errors import ConfigError

# Ports below those that systems assign by themselves. A step of a job has a block of ports, and other jobs and steps have other blocks.
_FIRST_PORT, _BLOCKS, _PORTS = 12000, 1250, 16
_HOST = r"[^,\[\]]+(?:\[[\d,-]+\])?"


def slurm_cluster() -> dict[str, Any]:
    """Returns the description of a Slurm job step in the form of TF_CONFIG, from the environment of one of its processes.

    Ranks are those of Slurm's default distribution: first all processes of the first node. Each process uses the GPUs that Slurm lets it see.

    Raises:
        ConfigError: if the variables cannot be understood, or a node has more than 16 processes.

    Source: https://slurm.schedmd.com/srun.html, output environment variables.
    """
    job, step = int(os.environ["SLURM_JOB_ID"]), int(os.environ.get("SLURM_STEP_ID", 0))
    first_port = _FIRST_PORT + (7 * job + step) % _BLOCKS * _PORTS
    hosts, tasks = _hosts(os.environ["SLURM_STEP_NODELIST"]), _tasks()
    if len(hosts) != len(tasks) or max(tasks) > _PORTS:
        raise ConfigError(
            f"--cluster=slurm supports up to {_PORTS} processes on each node; SLURM_STEP_TASKS_PER_NODE={os.environ['SLURM_STEP_TASKS_PER_NODE']} "
            f"on SLURM_STEP_NODELIST={os.environ['SLURM_STEP_NODELIST']} has others"
        )
    addresses = [
        f"{host}:{first_port + task}"
        for host, count in zip(hosts, tasks, strict=True)
        for task in range(count)
    ]
    return {
        "cluster": {"worker": addresses},
        "task": {"type": "worker", "index": int(os.environ["SLURM_PROCID"])},
    }


def _hosts(text: str) -> list[str]:
    """Returns the names in a list such as `gpu[08-10,12],login1`, in its order, which is that of the ranks."""
    if not re.fullmatch(rf"{_HOST}(?:,{_HOST})*", text):
        raise ConfigError(
            f"SLURM_STEP_NODELIST={text} is not a list of nodes; start the command with srun"
        )
    found = []
    for part in re.findall(_HOST, text):
        name, _, numbers = part.rstrip("]").partition("[")
        if not numbers:
            found.append(name)
            continue
        for piece in numbers.split(","):
            first, _, last = piece.partition("-")
            counted = range(int(first), int(last or first) + 1)
            found += [f"{name}{number:0{len(first)}}" for number in counted]
    return found


def _tasks() -> list[int]:
    """Returns the number of processes on each node, which Slurm writes as `2(x3),1`."""
    text = os.environ["SLURM_STEP_TASKS_PER_NODE"]
    if not re.fullmatch(r"\d+(\(x\d+\))?(,\d+(\(x\d+\))?)*", text):
        raise ConfigError(
            f"SLURM_STEP_TASKS_PER_NODE={text} is not a list of numbers; start the command with srun"
        )
    found = re.findall(r"(\d+)(?:\(x(\d+)\))?", text)
    return [int(count) for count, times in found for _ in range(int(times or 1))]
