"""Helpers for tests that start runs and read their results."""

import contextlib
import itertools
import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from benchmarks.measuring import free_ports
from pixpro_tf.training.slurm import slurm_cluster
from tests.conftest import ROOT

_MEASURED = """
import resource, subprocess, sys
subprocess.run([sys.executable, "-m", *sys.argv[1:]], check=True)
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(usage.ru_utime + usage.ru_stime, usage.ru_maxrss)
"""


def assert_bit_identical(a, b):
    assert a.keys() == b.keys()
    assert len(a) > 100
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def cluster_of_two(chief=False):
    """Returns TF_CONFIG for two processes on the loopback interface: two workers, or a chief and a worker."""
    first, second = (f"127.0.0.1:{port}" for port in free_ports(2))
    workers = [("worker", 0), ("worker", 1)]
    cluster = {"worker": [first, second]}
    if chief:
        workers = [("chief", 0), ("worker", 0)]
        cluster = {"chief": [first], "worker": [second]}
    return [
        json.dumps({"cluster": cluster, "task": {"type": role, "index": index}})
        for role, index in workers
    ]


def addresses_of(job):
    """Returns the addresses of the processes of a Slurm job step."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in job.items():
            patch.setenv(name, value)
        return slurm_cluster()["cluster"]["worker"]


def _are_free(addresses):
    with contextlib.ExitStack() as stack:
        for address in addresses:
            host, port = address.split(":")
            found = stack.enter_context(socket.socket())
            try:
                found.bind((host, int(port)))
            except OSError:
                return False
    return True


def slurm_step_of_two():
    """Returns the environment variables of two processes of a Slurm job step on the loopback interface."""
    # The job's number decides its ports.
    for number in itertools.count(1):
        job = {
            "SLURM_JOB_ID": str(number),
            "SLURM_STEP_NODELIST": "127.0.0.1",
            "SLURM_STEP_NUM_TASKS": "2",
            "SLURM_STEP_TASKS_PER_NODE": "2",
        }
        if _are_free(addresses_of(job | {"SLURM_PROCID": "0"})):
            break
    return [job | {"SLURM_PROCID": str(index)} for index in range(2)]


def error_line(process):
    """Returns the error line for the user, which is mixed with TensorFlow's logs."""
    assert "Traceback" not in process.stderr
    (line,) = [line for line in process.stderr.splitlines() if line.startswith("error: ")]
    return line


def cost_of(module, *flags):
    """Returns the cost of a command: seconds of CPU time, and peak memory in bytes.

    CPU time is measured instead of wall time because tests share their CPUs.
    """
    process = subprocess.run(
        [sys.executable, "-c", _MEASURED, module, *flags],
        cwd=ROOT,
        env=os.environ | {"COVERAGE_PROCESS_START": ""},
        check=True,
        capture_output=True,
        text=True,
    )
    seconds, kibibytes = map(float, process.stdout.split()[-2:])
    print(f"{module}: {seconds:.1f} s of CPU time, {kibibytes / 1024:.0f} MiB")
    return seconds, kibibytes * 1024
