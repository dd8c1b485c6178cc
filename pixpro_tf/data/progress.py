"""Lines that say how far something of minutes or hours has come."""

import time
from collections.abc import Callable

_SECONDS_BETWEEN_LINES = 10


class Progress:
    """Prints now and then how many images are done.

    Args:
        total: how many there are.
        print_line: takes a line for the user.
    """

    def __init__(self, total: int, print_line: Callable[[str], None] = print) -> None:
        self._total, self._done = total, 0
        self._print = print_line
        self._next_line = time.monotonic() + _SECONDS_BETWEEN_LINES

    def add(self, count: int) -> None:
        """Counts some more as done."""
        self._done += count
        if time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + _SECONDS_BETWEEN_LINES
            self._print(f"{self._done} of {self._total} images")
