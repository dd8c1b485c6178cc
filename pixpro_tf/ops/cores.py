"""Number of CPU cores of this process; does not import TensorFlow."""

import math
import os

# File with two numbers: the CPU time available in each period and the length of the period, in microseconds.
_CPU_LIMIT = "/sys/fs/cgroup/cpu.max"


def num_cores() -> int:
    """Returns the number of CPU cores that this process, or the container that it runs in, may use.

    Examples:
        >>> from pixpro_tf.ops import cores
        >>> cores.num_cores() >= 1
        True
    """
    usable = hasattr(os, "sched_getaffinity")
    count = len(os.sched_getaffinity(0)) if usable else os.cpu_count() or 1
    try:
        with open(_CPU_LIMIT) as file:
            time, period = map(int, file.read().split())
    except (OSError, ValueError):
        # Without a limit, the file is missing or contains `max`.
        return count
    return min(count, math.ceil(time / period))
