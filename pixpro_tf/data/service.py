"""Input made by other processes, through `tf.data`'s service, in the order that a single one would make it in."""

import dataclasses
import socket
from collections.abc import Callable

import tensorflow as tf

from pixpro_tf.errors import RunError

_SECONDS_TO_ANSWER = 10
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
        """Raises `RunError` unless something answers at each address; TensorFlow would wait for it without end."""
        for address in self.addresses:
            host, _, port = address.removeprefix("grpc://").rpartition(":")
            try:
                socket.create_connection((host, int(port)), timeout=_SECONDS_TO_ANSWER).close()
            except OSError as error:
                raise RunError(
                    f"--data_service: {address} does not answer: {error.strerror or error}; "
                    "start it there by `python -m pixpro_tf.data_service`"
                ) from None

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

        def checked(number, element):
            place = element.pop("place")[0]
            expected = first_place + per_element * number
            tf.debugging.assert_equal(place, expected, SEVERAL_WORKERS)
            return element

        return made.enumerate().map(checked)
