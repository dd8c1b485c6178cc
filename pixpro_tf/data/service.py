"""Input produced by other processes through the tf.data service, in the same order as in a single process."""

import contextlib
import dataclasses
import socket
import threading
import time
from collections.abc import Callable, Iterator

import tensorflow as tf

from pixpro_tf.errors import RunError

_SECONDS_TO_ANSWER = 20
_SECONDS_BETWEEN_LOOKS, _SECONDS_OF_PATIENCE = 10, 60
SEVERAL_WORKERS = "a dispatcher of the data service has several workers"


@dataclasses.dataclass(frozen=True)
class DataService:
    """Dispatchers of `tf.data.experimental.service` with one worker each, which produce the elements of a dataset in turn.

    Several workers of one dispatcher would not work, because their elements arrive in the order in which they become ready.

    Attributes:
        addresses: address of each dispatcher, `grpc://host:port`.
    """

    addresses: tuple[str, ...]

    def check(self) -> None:
        """Raises `RunError` unless every dispatcher returns an element; TensorFlow itself would wait forever."""
        for address in self.addresses:
            if problem := _unreachable(address):
                host, port = _host_and_port(address)
                raise RunError(
                    f"{address} does not answer: {problem}; "
                    f"start it on that machine with `python -m pixpro_tf.data_service --host={host} --port={port}`",
                    of="data_service",
                )
            asking = threading.Thread(target=_ask, args=(address,), daemon=True)
            asking.start()
            asking.join(_SECONDS_TO_ANSWER)
            if asking.is_alive():
                raise RunError(
                    f"{address} answers, but its worker does not; "
                    "restart the data service with a --host that this machine can reach",
                    of="data_service",
                )

    @contextlib.contextmanager
    def watched(
        self,
        leave: Callable[[RunError], None],
        every: float = _SECONDS_BETWEEN_LOOKS,
        patience: float = _SECONDS_OF_PATIENCE,
    ) -> Iterator[None]:
        """Checks that all dispatchers still answer, for as long as the block runs.

        Args:
            leave: called from another thread, with the error, once a dispatcher has not answered for a while. It must end the process:
                TensorFlow waits for elements in code that signals do not interrupt.
            every, patience: seconds between two checks, and seconds without an answer after which `leave` is called.
        """
        over = threading.Event()

        def look() -> None:
            seen = dict.fromkeys(self.addresses, time.monotonic())
            while not over.wait(every):
                for address in self.addresses:
                    if not _unreachable(address):
                        seen[address] = time.monotonic()
                    elif time.monotonic() - seen[address] > patience and not over.is_set():
                        error = RunError(
                            f"{address} no longer answers; restart it, then run this command again "
                            "to resume from the last checkpoint",
                            of="data_service",
                        )
                        leave(error)
                        return

        threading.Thread(target=look, daemon=True).start()
        try:
            yield
        finally:
            over.set()

    def distributed(
        self, elements: Callable[[int, int], tf.data.Dataset], per_element: int, first_place: int
    ) -> tf.data.Dataset:
        """Dataset of the elements that all workers produce.

        Args:
            elements: function of m and n that returns an endless dataset of every n-th element, starting from the m-th. Elements are
                dictionaries that contain the positions of their images among all images as `"place": [per_element] int64`; this entry is
                removed from the elements of the result.
            per_element: number of images in each element.
            first_place: position of the first image among all images.
        """
        service = tf.data.experimental.service
        count = len(self.addresses)
        streams = [
            elements(number, count).apply(
                service.distribute(processing_mode=service.ShardingPolicy.OFF, service=address)
            )
            for number, address in enumerate(self.addresses)
        ]
        turns = tf.data.Dataset.range(count).repeat()
        made = tf.data.Dataset.choose_from_datasets(streams, turns, stop_on_empty_dataset=True)

        def checked(number: tf.Tensor, element: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            place = element.pop("place")[0]
            expected = first_place + per_element * number
            tf.debugging.assert_equal(place, expected, SEVERAL_WORKERS)
            return element

        return made.enumerate().map(checked)


def _unreachable(address: str) -> str:
    """Reason why an address does not answer; empty if it does."""
    try:
        socket.create_connection(_host_and_port(address), timeout=_SECONDS_TO_ANSWER).close()
    except OSError as error:
        return error.strerror or str(error)
    except UnicodeError:
        return "invalid host name"
    return ""


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.removeprefix("grpc://").rpartition(":")
    return host, int(port)


def _ask(address: str) -> None:
    service = tf.data.experimental.service
    one = tf.data.Dataset.range(1).apply(
        service.distribute(processing_mode=service.ShardingPolicy.OFF, service=address)
    )
    next(iter(one))
