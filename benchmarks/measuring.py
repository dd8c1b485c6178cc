"""What the benchmarks share: processes of their own, their time and memory."""

import ctypes
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence


def apart(module: str, *arguments: str) -> dict | str:
    """What `python -m module arguments` prints, as JSON; the last line of what it complained of if it failed."""
    process = subprocess.run(
        [sys.executable, "-m", module, *arguments], capture_output=True, text=True
    )
    if process.returncode == 0:
        return json.loads(process.stdout.splitlines()[-1])
    return reason(process.returncode, process.stderr)


def reason(returncode: int, complaints: str) -> str:
    """Why a process failed, in one line."""
    if returncode < 0:
        return f"killed by signal {-returncode}" + (", out of memory?" if returncode == -9 else "")
    return complaints.strip().rpartition("\n")[-1][:200] or f"exit code {returncode}"


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens at."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def memory() -> dict[str, float]:
    """Megabytes of this process: VmRSS, the resident size, and VmHWM, its peak. Linux only."""
    with open("/proc/self/status") as file:
        lines = dict(line.split(":", 1) for line in file)
    # What Linux calls kB is 1024 bytes.
    return {name: int(lines[name].split()[0]) * 1024 / 1e6 for name in ("VmRSS", "VmHWM")}


def memory_from_now_on() -> dict[str, float]:
    """Gives freed memory back, which would hide as much of the peak, and makes Linux forget the peak until now."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    return memory()


def seconds_of(work: Callable[[], object]) -> float:
    """By the clock."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def spread(values: Sequence[float], form: str) -> str:
    """The smallest and the largest value, `1.2..1.4`."""
    return f"{min(values):{form}}..{max(values):{form}}"
