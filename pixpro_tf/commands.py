"""What all commands share: flags, errors as one line, and output that appears complete or not at all."""

import argparse
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator

from pixpro_tf.errors import ConfigError, UserError


class Parser(argparse.ArgumentParser):
    """A parser whose refusals are `ConfigError`s, and which takes no abbreviated flags."""

    def __init__(self, **kwargs):
        super().__init__(allow_abbrev=False, **kwargs)

    def error(self, message):
        raise ConfigError(f"{message}; --help lists the flags")


def exit_code_of(command: Callable[[], int | None]) -> int:
    """Runs a command and prints a user's mistake as one line.

    Args:
        command: returns its exit code, or None for 0.
    """
    try:
        return command() or 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 128 + signal.SIGINT


def quiet_tensorflow() -> None:
    """Keeps TensorFlow's own log lines from between a command's; before it is imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def refuse_existing(flag: str, path: str, overwrite: bool) -> None:
    """Refuses an output that is there already; before any work is done.

    Raises:
        ConfigError: if `path` exists and is not to be overwritten.
    """
    if os.path.lexists(path) and not overwrite:
        raise ConfigError(f"--{flag}={path} exists already; give another, or add --overwrite")


@contextlib.contextmanager
def atomic_output(path: str, overwrite: bool = False) -> Iterator[str]:
    """A place beside `path` that takes its name once the block has ended well, and is removed otherwise.

    Args:
        path: of a file or folder.
        overwrite: whether one that is there already is replaced.

    Yields:
        A path inside an empty folder, at which nothing is yet.

    Raises:
        ConfigError: if `path` exists and is not to be overwritten.
    """
    path = os.path.abspath(os.path.expanduser(path))
    refuse_existing("output", path, overwrite)
    parent, name = os.path.split(path)
    os.makedirs(parent, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=parent) as temporary:
        made = os.path.join(temporary, name)
        yield made
        if os.path.lexists(path):
            refuse_existing("output", path, overwrite)
            os.rename(path, os.path.join(temporary, f"{name}.replaced"))
        os.rename(made, path)
