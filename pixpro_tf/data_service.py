"""Creates views for train.py in a separate process, on this or another machine: reads, decodes, crops and augments images.

python -m pixpro_tf.data_service --host=host1 --port=5050
python train.py --flagfile=configs/pixpro.flags --data_service=grpc://host1:5050,grpc://host2:5050
"""

import dataclasses
import socket
import sys
import threading

import pixpro_tf  # noqa: F401 - chooses Keras 2, so it comes before TensorFlow
from pixpro_tf.cli.commands import Command
from pixpro_tf.cli.settings import CheckedSettings
from pixpro_tf.config.flag import flag, refuse
from pixpro_tf.errors import RunError, first_line


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(CheckedSettings):
    """Flags of the command: where to serve the views."""

    host: str = flag(
        socket.gethostname(),
        "Service",
        "name or address under which the run can reach this machine",
    )
    port: int = flag(5050, "Service", "port of the dispatcher", minimum=1, maximum=65535)
    worker_port: int = flag(
        0, "Service", "port of the worker; 0 for the one after --port", minimum=0, maximum=65535
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.worker_port == self.port:
            refuse(self, "worker_port", "is the port of the dispatcher; use another port")
        if not self.worker_port and self.port == 65535:
            refuse(self, "port", "has no port after it for the worker; add --worker_port")


def _run(flags: Settings) -> None:
    worker_port = flags.worker_port or flags.port + 1
    for name, port in (("port", flags.port), ("worker_port", worker_port)):
        _check_free(name, port)
    import tensorflow as tf

    service = tf.data.experimental.service
    try:
        dispatcher = service.DispatchServer(service.DispatcherConfig(port=flags.port))
        worker = service.WorkerServer(
            service.WorkerConfig(
                dispatcher_address=f"localhost:{flags.port}",
                worker_address=f"{flags.host}:{worker_port}",
                port=worker_port,
            )
        )
    except tf.errors.OpError as error:
        raise RunError(
            f"--port={flags.port} or --worker_port={worker_port} cannot be used: {first_line(error)}; use another port"
        ) from None
    print(
        f"Serving at --data_service=grpc://{flags.host}:{flags.port}; press Ctrl-C to stop",
        flush=True,
    )
    try:
        # Ctrl-C would not interrupt the `join` of a server.
        threading.Event().wait()
    finally:
        # The worker must go first; otherwise it would keep calling its dispatcher.
        del worker
        del dispatcher


def _check_free(name: str, port: int) -> None:
    """Raises `RunError` if a port is in use: the server would share it with the other process, and each get part of the requests."""
    try:
        socket.create_server(("", port)).close()
    except OSError as error:
        raise RunError(
            f"--{name}={port} cannot be used: {error.strerror or error}; use another port"
        ) from None


main = Command(Settings, __doc__, "python -m pixpro_tf.data_service", _run, "pixpro-data-service")

if __name__ == "__main__":
    sys.exit(main())
