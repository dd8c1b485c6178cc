"""Input made by other processes, through `tf.data`'s service, in the order that a single one would make it in."""

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
    """Dispatchers of `tf.data.experimental.service` with one worker each, which make the elements of a dataset in turn.

    Several workers of one dispatcher would not do: they give whatever is ready first.

    Attributes:
        addresses: `grpc://host:port` of each.
    """

    addresses: tuple[str, ...]

    def check(self) -> None:
        """Raises `RunError` unless each of them gives an element; TensorFlow would wait for it without end."""
        for address in self.addresses:
            if problem := _unreachable(address):
                raise RunError(
                    f"{address} does not answer: {problem}; "
                    "start it there by `python -m pixpro_tf.data_service --host=NAME`",
                    of="data_service",
                )
            asking = threading.Thread(target=_ask, args=(address,), daemon=True)
            asking.start()
            asking.join(_SECONDS_TO_ANSWER)
            if asking.is_alive():
                raise RunError(
                    f"{address} answers, but its worker does not; "
                    "give it a --host=NAME by which this machine finds that one",
                    of="data_service",
                )

    @contextlib.contextmanager
    def watched(
        self,
        leave: Callable[[RunError], None],
        every: float = _SECONDS_BETWEEN_LOOKS,
        patience: float = _SECONDS_OF_PATIENCE,
    ) -> Iterator[None]:
        """Looks whether all of them are still there, as long as the block runs.

        Args:
            leave: called from another thread, with the error, once one of them has not answered for a while. It has to end the process:
                TensorFlow waits for elements where no signal reaches it.
            every, patience: seconds between two looks, and until `leave`.
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
                            f"{address} does not answer any more; start it and this command again, "
                            "which goes on from the last checkpoint",
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
        """The elements that all of them make.

        Args:
            elements: of m and n, a dataset without end of every n-th element from the m-th on. Elements are dictionaries, with the places of
                their images among all images as `"place": [per_element] int64`; given back without it.
            per_element: images in each.
            first_place: of the first image of all.
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
    """Why nothing answers at an address; empty if something does."""
    host, _, port = address.removeprefix("grpc://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_SECONDS_TO_ANSWER).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _ask(address: str) -> None:
    service = tf.data.experimental.service
    one = tf.data.Dataset.range(1).apply(
        service.distribute(processing_mode=service.ShardingPolicy.OFF, service=address)
    )
    next(iter(one))
