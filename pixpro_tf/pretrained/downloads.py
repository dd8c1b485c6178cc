"""Downloads by other packages, with limits for their duration and size."""

import contextlib
import hashlib
import os
import socket
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

from pixpro_tf.data import limits
from pixpro_tf.errors import RunError

# Time for which a server may send nothing.
_SILENCE = 60.0
_CHUNK = 2**16


@contextlib.contextmanager
def limited(what: str) -> Iterator[None]:
    """Limits the downloads by Python's `urllib` in the block, through which TF Hub and Keras download.

    Args:
        what: what is downloaded, for messages.

    Raises:
        RunError: if a download exceeds a limit, or its server does not respond.
    """
    used = limits.current()
    end = time.monotonic() + 60 * used.max_download_minutes
    before, director = socket.getdefaulttimeout(), urllib.request.OpenerDirector
    original = director.open

    def limited_open(self: urllib.request.OpenerDirector, *args: Any, **kwargs: Any) -> Any:
        return _Limited(original(self, *args, **kwargs), what, used, end)

    # Neither package has an argument for a limit; both reach this method, in different ways.
    director.open = limited_open  # type: ignore[method-assign]
    socket.setdefaulttimeout(min(_SILENCE, 60 * used.max_download_minutes))
    try:
        yield
    except TimeoutError:
        raise RunError(
            f"the server has not responded for {_SILENCE:.0f} seconds; download {what} yourself, and pass its path"
        ) from None
    finally:
        director.open = original  # type: ignore[method-assign]
        socket.setdefaulttimeout(before)


class _Limited:
    """Response of a server whose contents are read within limits."""

    def __init__(self, response: Any, what: str, used: limits.Limits, end: float) -> None:
        self._response, self._what, self._limits, self._end = response, what, used, end
        self._bytes = 0

    def read(self, size: int = -1) -> bytes:
        """Reads at most some bytes, or all if the size is negative; raises `RunError` beyond a limit."""
        if size < 0:
            return b"".join(iter(lambda: self.read(_CHUNK), b""))
        # `read` would wait until it has all bytes, from a server that sends them one by one.
        data: bytes = getattr(self._response, "read1", self._response.read)(size)
        self._bytes += len(data)
        if self._bytes > self._limits.max_download_gigabytes * 10**9:
            raise RunError(
                f"{self._what} is larger than --max_download_gigabytes={self._limits.max_download_gigabytes} allows"
            )
        if time.monotonic() > self._end:
            raise RunError(
                f"the download of {self._what} takes longer than --max_download_minutes={self._limits.max_download_minutes} allows"
            )
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._response, name)


def wait_for_others(address: str) -> None:
    """Waits until no other process downloads a handle of TF Hub, which itself waits without a word.

    A lock that a process of this machine has left is removed.

    Raises:
        RunError: if the other process takes longer than the limit for downloads.
    """
    lock = _folder_of(address) + ".lock"
    minutes = limits.current().max_download_minutes
    end = time.monotonic() + 60 * minutes
    told = False
    while os.path.exists(lock):
        if not _is_held(lock):
            with contextlib.suppress(FileNotFoundError):
                os.remove(lock)
            return
        if not told:
            print(f"Another process is downloading {address}; waiting for it to finish", flush=True)
            told = True
        if time.monotonic() > end:
            raise RunError(
                f"another process has locked this download for {minutes} minutes; delete {lock} if that process has ended"
            )
        time.sleep(1)


def cache_folder() -> tuple[str, str]:
    """Returns the folder of TF Hub's downloads, after the name of the environment variable that determines it."""
    if folder := os.environ.get("TFHUB_CACHE_DIR"):
        return "TFHUB_CACHE_DIR", folder
    return "TMPDIR", os.path.join(tempfile.gettempdir(), "tfhub_modules")


def _folder_of(address: str) -> str:
    """Returns the folder in which TF Hub keeps a download."""
    _, folder = cache_folder()
    return os.path.join(folder, hashlib.sha1(address.encode(), usedforsecurity=False).hexdigest())


def _is_held(lock: str) -> bool:
    """Returns whether the process that wrote a lock may still exist: the lock contains its machine, its number and a random name."""
    try:
        with open(lock) as file:
            host, number, _ = file.read().rsplit(".", 2)
        if host == socket.gethostname():
            os.kill(int(number), 0)
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return False
    except OSError:
        # The process, or the lock, belongs to another user.
        return True
    return True
