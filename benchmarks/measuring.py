"""Utilities of the benchmarks: separate processes, time and memory."""

import ctypes
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence


def apart(module: str, *arguments: str) -> dict | str:
    """Runs `python -m module arguments` and returns the JSON that it prints, or the last line of its errors if it failed."""
    process = subprocess.run(
        [sys.executable, "-m", module, *arguments], capture_output=True, text=True
    )
    if process.returncode == 0:
        return json.loads(process.stdout.splitlines()[-1])
    return reason(process.returncode, process.stderr)


def reason(returncode: int, complaints: str) -> str:
    """Describes in one line why a process failed."""
    if returncode < 0:
        return f"killed by signal {-returncode}" + (", out of memory?" if returncode == -9 else "")
    return complaints.strip().rpartition("\n")[-1][:200] or f"exit code {returncode}"


def free_ports(count: int) -> list[int]:
    """Returns free ports of the loopback interface."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def memory() -> dict[str, float]:
    """Returns the memory of this process in megabytes: VmRSS, the resident size, and VmHWM, its peak. Linux only."""
    with open("/proc/self/status") as file:
        lines = dict(line.split(":", 1) for line in file)
    # A kB of Linux is 1024 bytes.
    return {name: int(lines[name].split()[0]) * 1024 / 1e6 for name in ("VmRSS", "VmHWM")}


def memory_from_now_on() -> dict[str, float]:
    """Returns freed memory to the system, which would hide part of the next peak, resets the peak, and returns the memory."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    return memory()


def seconds_of(work: Callable[[], object]) -> float:
    """Returns the wall-clock seconds of a call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def spread(values: Sequence[float], form: str) -> str:
    """Formats the smallest and the largest value, e.g. `1.2..1.4`."""
    return f"{min(values):{form}}..{max(values):{form}}"


def in_turns(works, rounds):
    """Returns the seconds of each function in every round; they take turns, so that other load on the machine affects all."""
    taken = [[seconds_of(work) for work in works] for _ in range(rounds)]
    return [list(each) for each in zip(*taken, strict=True)]
