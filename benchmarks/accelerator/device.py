"""Description of the device that the checks use."""

import os
import subprocess
import sys
from typing import Any

import tensorflow as tf

from pixpro_tf.data.sources.cache import memory_bytes
from pixpro_tf.ops.cores import num_cores


def describe() -> dict[str, Any]:
    """Returns the name, the kind ("GPU" or "CPU") and the memory of the first GPU, or of the machine without one, and the versions."""
    found: dict[str, Any] = {"tensorflow": tf.__version__, "cores": num_cores()}
    gpus = tf.config.list_physical_devices("GPU")
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "?") in ("", "-1")
    if not gpus and not hidden and (card := _of_the_driver("name")):
        # Otherwise the checks would pass on the CPU.
        sys.exit(f"TensorFlow does not see {card}; check its CUDA libraries")
    if not gpus:
        return found | {"name": _cpu_name(), "kind": "CPU", "bytes": memory_bytes()}
    details = tf.config.experimental.get_device_details(gpus[0])
    capability = ".".join(map(str, details.get("compute_capability", ())))
    return found | {
        "name": details.get("device_name", "GPU"),
        "kind": "GPU",
        "capability": capability,
        "bytes": int(_of_the_driver("memory.total") or 0) * 2**20,
    }


def _of_the_driver(what: str) -> str:
    """Returns what the driver's tool says about the first visible GPU; empty if it says nothing."""
    command = ["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader,nounits"]
    if visible := os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0]:
        command.append(f"--id={visible}")
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
    return found.splitlines()[0].strip() if found.strip() else ""


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.partition(":")[2].strip() for line in file if "model name" in line]
    except OSError:
        names = []
    return names[0] if names else "CPU"
