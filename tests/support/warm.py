"""Python processes that start with TensorFlow already imported, for the many commands that the tests run.

Importing the modules of a run takes four seconds of CPU time. A server imports them once, before TensorFlow creates a context or starts a
thread, and forks for every command. `python(...)` returns the command line of such a process, for `subprocess`. It starts a small client,
which passes its files, folder and environment to the fork, forwards signals to it, and ends like the fork: with its exit code, or through
its signal. If the client is killed, the fork ends a moment later.

Parallel test workers share one server, which the process that distributes the tests to them starts.
All forks of a server share the seed of Python's hashes. Start a separate process if the hash order or the moment of a kill matters.
"""

import atexit
import contextlib
import functools
import gc
import json
import os
import pathlib
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from typing import NoReturn

FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
# Modules that the commands import, but not the commands themselves, which run as `__main__`.
PRELOADED = """
import pixpro_tf, tensorflow, tensorflow_datasets, tensorflow_hub, matplotlib.pyplot
import pixpro_tf.training.run, pixpro_tf.storage.trained_weights, pixpro_tf.storage.saved_model, pixpro_tf.training.view_pictures
"""


def python(*arguments: object) -> list[str]:
    """Returns the command line of a process with `arguments` of Python: `FILE ...`, `-m MODULE ...` or `-c CODE ...`."""
    return [sys.executable, "-I", "-S", __file__, _shared or server(), *map(str, arguments)]


# Address of a server that another process has started.
_shared = ""


def share(address: str) -> None:
    """Uses the server at an address, which another process has started."""
    global _shared
    _shared = address


@functools.cache
def server() -> str:
    """Starts a server that ends with this process, and returns its address.

    The server accepts requests immediately, and handles them once its imports are complete.
    """
    folder = tempfile.TemporaryDirectory(prefix="warm-python-")
    address = os.path.join(folder.name, "socket")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.warm", "--serve", address],
        cwd=pathlib.Path(__file__).parent.parent.parent,
        # The server ends when this pipe is closed, however this process ends.
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None and process.stdout is not None
    if process.stdout.readline() != b"ready\n":
        raise RuntimeError("the server of Python processes did not start")

    @atexit.register
    def stop():
        process.stdin.close()
        process.wait()
        folder.cleanup()

    return address


def _serve(address: str) -> dict:
    """Forks for every client; returns only in the fork, with the request of the client."""
    # Ctrl-C is handled by the tests, which end the server.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    os.write(1, b"ready\n")
    exec(PRELOADED, {})
    # Existing objects are permanent, so that forks need not visit them when they end or collect garbage.
    gc.freeze()
    # No process waits for the watchers.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        readable, _, _ = select.select([listener, 0], [], [])
        if 0 in readable:
            os._exit(0)
        connection, _ = listener.accept()
        if os.fork():
            connection.close()
            continue
        listener.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        size, descriptors, _, _ = socket.recv_fds(connection, 4, 3)
        request = json.loads(_exactly(connection, int.from_bytes(size, "big")))
        if pid := os.fork():
            _watch(connection, pid, descriptors)
        connection.close()
        for standard, descriptor in enumerate(descriptors):
            os.dup2(descriptor, standard)
            os.close(descriptor)
        return request


def _watch(connection: socket.socket, pid: int, descriptors: list[int]) -> NoReturn:
    """Sends the process id and the exit code of the fork to the client, and kills the fork if the client disappears."""
    for descriptor in (*descriptors, 0, 1, 2):
        os.close(descriptor)
    connection.sendall(pid.to_bytes(4, "big"))

    def kill_without_client():
        if not connection.recv(1):
            os.kill(pid, signal.SIGKILL)

    threading.Thread(target=kill_without_client, daemon=True).start()
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(BrokenPipeError):
        connection.sendall(os.waitstatus_to_exitcode(status).to_bytes(4, "big", signed=True))
    os._exit(0)


def _exactly(connection: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        if not (part := connection.recv(size - len(received))):
            raise EOFError("the other side has gone")
        received += part
    return received


def _become(arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    """Runs `arguments` in this process as Python would."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.stdin = open(0)  # noqa: SIM115
    sys.stdout, sys.stderr = open(1, "w"), open(2, "w")  # noqa: SIM115
    if test := environment.get("PYTEST_CURRENT_TEST"):
        _cover_for(test.rpartition(" ")[0])
    kind, *rest = arguments
    name, *sys.argv[1:] = [*rest] if kind in ("-m", "-c") else arguments
    sys.argv[0] = kind if kind == "-c" else name
    sys.path[0] = folder if kind in ("-m", "-c") else os.path.dirname(os.path.abspath(name))
    sys.path[1:1] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    if kind == "-m":
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    elif kind == "-c":
        exec(name, {"__name__": "__main__"})
    else:
        runpy.run_path(name, run_name="__main__")


def _cover_for(test: str) -> None:
    """Attributes the coverage of this process to the test that started it, if coverage is measured per test."""
    coverage = sys.modules.get("coverage")
    if coverage and (running := coverage.Coverage.current()):
        running.switch_context(test)


def _ask(address: str, arguments: list[str]) -> int:
    """Runs the client: requests a process from the server and ends like it; returns its exit code."""
    request = {"arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)}
    payload = json.dumps(request).encode()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
        socket.send_fds(connection, [len(payload).to_bytes(4, "big")], [0, 1, 2])
        connection.sendall(payload)
        pid = int.from_bytes(_exactly(connection, 4), "big")
        for number in FORWARDED:
            signal.signal(number, lambda number, _: os.kill(pid, number))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
        code = int.from_bytes(_exactly(connection, 4), "big", signed=True)
    if code < 0:
        with contextlib.suppress(OSError):  # SIGKILL has no handler to reset.
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        _become(**_serve(sys.argv[2]))
    else:
        sys.exit(_ask(sys.argv[1], sys.argv[2:]))
