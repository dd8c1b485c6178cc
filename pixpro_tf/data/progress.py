"""Progress messages for work that takes minutes or hours."""

import time
from collections.abc import Callable

_SECONDS_BETWEEN_LINES = 10


class Progress:
    """Prints the number of processed images, at most once every ten seconds.

    Args:
        total: total number of images.
        print_line: function that prints a line for the user.
    """

    def __init__(self, total: int, print_line: Callable[[str], None] = print) -> None:
        self._total, self._done = total, 0
        self._print = print_line
        self._next_line = time.monotonic() + _SECONDS_BETWEEN_LINES

    def add(self, count: int) -> None:
        """Counts `count` more images as processed."""
        self._done += count
        if time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + _SECONDS_BETWEEN_LINES
            self._print(f"{self._done} of {self._total} images")
