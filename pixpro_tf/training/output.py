"""Output of a training run, which continues where nobody reads it."""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def unbreakable_output() -> Iterator[None]:
    """Context in which printing never fails: a terminal that closes, a pipe without a reader or a full disk must not end a run."""
    with contextlib.redirect_stdout(_Unbreakable(sys.stdout)):  # type: ignore[type-var]
        yield


class _Unbreakable:
    """Stream that discards what cannot be written."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes a text, if that is possible."""
        try:
            return int(self._stream.write(text))
        except OSError as error:
            self._discard(error)
            return len(text)

    def flush(self) -> None:
        """Flushes the stream, if that is possible."""
        try:
            self._stream.flush()
        except OSError as error:
            self._discard(error)

    def _discard(self, error: OSError) -> None:
        """Gives up an output that nobody can read any more; Python would try again to write what it has buffered."""
        if error.errno not in (errno.EPIPE, errno.EIO):
            return
        with contextlib.suppress(OSError, AttributeError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
