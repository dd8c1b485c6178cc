"""Description of the device that the checks use."""

import subprocess
from typing import Any

import tensorflow as tf

from pixpro_tf.data.parallelism import num_cores
from pixpro_tf.data.sources.cache import memory_bytes


def describe() -> dict[str, Any]:
    """Returns the name, the kind ("GPU" or "CPU") and the memory of the first GPU, or of the machine without one, and the versions."""
    found: dict[str, Any] = {"tensorflow": tf.__version__, "cores": num_cores()}
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return found | {"name": _cpu_name(), "kind": "CPU", "bytes": memory_bytes()}
    details = tf.config.experimental.get_device_details(gpus[0])
    capability = ".".join(map(str, details.get("compute_capability", ())))
    return found | {
        "name": details.get("device_name", "GPU"),
        "kind": "GPU",
        "capability": capability,
        "bytes": _gpu_bytes(),
    }


def _gpu_bytes() -> int:
    """Memory of the first GPU; 0 if the driver's tool does not tell."""
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return int(found.splitlines()[0]) * 2**20
    except (OSError, subprocess.CalledProcessError, ValueError, IndexError):
        return 0


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.partition(":")[2].strip() for line in file if "model name" in line]
    except OSError:
        names = []
    return names[0] if names else "CPU"
