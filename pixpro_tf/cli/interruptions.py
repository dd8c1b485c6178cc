"""Interruptions of a command: by Ctrl-C, by a scheduler or container that ends it, or by a terminal that closes."""

import contextlib
import signal
import threading
import types
from collections.abc import Iterator
from typing import Any, NoReturn

# Signals that would end a process at once, with whatever it has written half. Ctrl-C raises `KeyboardInterrupt` in Python anyway.
_OF_OTHERS = (signal.SIGTERM, signal.SIGHUP)


class Interruption(KeyboardInterrupt):
    """`KeyboardInterrupt` by a signal.

    Args:
        number: number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Context in which SIGTERM and SIGHUP raise `Interruption`, so that a command cleans up or keeps what it has done, as after Ctrl-C.

    The second such signal ends the process at once. Signals that the process ignores, such as SIGHUP under `nohup`, stay ignored. Outside
    the main thread, which alone receives signals, the context does nothing.
    """
    taken = [
        number
        for number in _OF_OTHERS
        if _in_main_thread() and signal.getsignal(number) == signal.SIG_DFL
    ]
    try:
        for number in taken:
            signal.signal(number, _raise)
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _raise(number: int, frame: types.FrameType | None) -> NoReturn:
    # Code of TensorFlow that does not return would otherwise not be ended by any number of signals.
    signal.signal(number, signal.SIG_DFL)
    raise Interruption(number)


@contextlib.contextmanager
def postponed() -> Iterator[None]:
    """Lets the block end before the first signal in it interrupts the command; a second signal does so at once."""
    usual: dict[int, Any] = {
        number: handler
        for number in (signal.SIGINT, *_OF_OTHERS)
        if _in_main_thread()
        and (handler := signal.getsignal(number)) in (signal.default_int_handler, _raise)
    }
    told: list[int] = []

    def note(number: int, frame: types.FrameType | None) -> None:
        if told:
            signal.signal(number, usual[number])
            signal.raise_signal(number)
        told.append(number)

    try:
        for number in usual:
            signal.signal(number, note)
        yield
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
    if told:
        signal.raise_signal(told[0])


@contextlib.contextmanager
def ignored() -> Iterator[None]:
    """Context in which Ctrl-C is ignored, also by processes that are started in it: only their parent is interrupted."""
    if not _in_main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
