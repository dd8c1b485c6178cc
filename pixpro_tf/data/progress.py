"""Progress messages for work that takes minutes or hours."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

_SECONDS_BETWEEN_LINES = 10

Item = TypeVar("Item")


class Progress:
    """Prints how much of the work is done and how long the rest will take, at most once every ten seconds.

    Args:
        total: total number of units of work.
        unit: what is counted, in the plural.
        done: number of units that had been done before.
        print_line: function that prints a line for the user.
    """

    def __init__(
        self,
        total: int,
        unit: str = "images",
        done: int = 0,
        print_line: Callable[[str], None] = print,
    ) -> None:
        self._total, self._unit, self._done = total, unit, done
        self._print = print_line
        self._first, self._start = done, time.monotonic()
        self._next_line = self._start + _SECONDS_BETWEEN_LINES

    def add(self, count: int) -> None:
        """Counts `count` more units as done."""
        self._done += count
        now = time.monotonic()
        if now >= self._next_line:
            self._next_line = now + _SECONDS_BETWEEN_LINES
            seconds_each = (now - self._start) / (self._done - self._first)
            left = duration((self._total - self._done) * seconds_each)
            self._print(f"{self._done} of {self._total} {self._unit}, {left} left")


def counted(
    items: Iterable[Item], total: int, unit: str, print_line: Callable[[str], None] = print
) -> Iterator[Item]:
    """Yields items and prints the progress; the arguments are those of `Progress`."""
    progress = Progress(total, unit, print_line=print_line)
    for item in items:
        yield item
        progress.add(1)


def duration(seconds: float) -> str:
    """Formats a duration as `2h 05m`, `4m 10s` or `12s`."""
    seconds = round(seconds)
    if seconds >= 3600:
        return f"{seconds // 3600}h {seconds % 3600 // 60:02d}m"
    return f"{seconds // 60}m {seconds % 60:02d}s" if seconds >= 60 else f"{seconds}s"
