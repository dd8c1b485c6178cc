"""What all commands share: flags, errors as one line, and output that appears complete or not at all."""

import argparse
import contextlib
import importlib
import io
import os
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from pixpro_tf.errors import ConfigError, RunError, UserError, first_line


class Parser(argparse.ArgumentParser):
    """A parser whose refusals are `ConfigError`s, and which takes no abbreviated flags."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; --help lists the flags")


def exit_code_of(command: Callable[[], int | None]) -> int:
    """Runs a command and prints a user's mistake as one line.

    Args:
        command: returns its exit code, or None for 0.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What a command tells while it works is seen at once in a pipe and in a log, too.
        sys.stdout.reconfigure(line_buffering=True)
    try:
        return command() or 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 128 + signal.SIGINT


def is_installed_command() -> bool:
    """Whether this process is one of the package's own commands, as `pixpro-train`, and not one of a checkout."""
    return os.path.basename(sys.argv[0]).startswith("pixpro-")


def run_subcommand(
    program: str, description: str, modules: dict[str, str], arguments: list[str] | None
) -> int:
    """Runs the command of a program that its first argument names; returns the exit code.

    Args:
        program: name of the program, as "pixpro-export".
        description: what its commands do, for the help.
        modules: module whose `main` is each command.
        arguments: without the program's name; by default those of this process.
    """
    given = sys.argv[1:] if arguments is None else arguments
    return exit_code_of(lambda: _run_subcommand(program, description, modules, given))


def _run_subcommand(
    program: str, description: str, modules: dict[str, str], arguments: list[str]
) -> int:
    if not arguments:
        raise ConfigError(f"{program} needs a command, {'|'.join(modules)}; --help lists them")
    name, *rest = arguments
    if name in ("-h", "--help"):
        print(f"usage: {program} {{{','.join(modules)}}} ...\n\n{description}")
        print(f"`{program} NAME --help` lists the flags of a command.")
        return 0
    if name not in modules:
        raise ConfigError(f"{program}: invalid choice: {name!r}; use one of {', '.join(modules)}")
    return importlib.import_module(modules[name]).main(rest)


def quiet_tensorflow() -> None:
    """Keeps TensorFlow's own log lines from between a command's; before it is imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # What tensorflow-hub imports; the versions of requirements.txt bring it.
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")


def refuse_existing(flag: str, path: str, overwrite: bool) -> None:
    """Refuses an output that is there already or that cannot be one; before any work is done.

    Raises:
        ConfigError: if `path` exists and is not to be overwritten, or is an address.
    """
    if "://" in path:
        raise ConfigError(
            f"--{flag}={path} is an address; give a local path, and copy there what was written"
        )
    if os.path.lexists(_absolute(path)) and not overwrite:
        raise ConfigError(f"--{flag}={path} exists already; give another, or add --overwrite")


@contextlib.contextmanager
def atomic_output(path: str, overwrite: bool = False) -> Iterator[str]:
    """A place beside `path` that takes its name once the block has ended well, and is removed otherwise.

    Args:
        path: of a file or folder; folders above it are made if missing.
        overwrite: whether one that is there already is replaced.

    Yields:
        A path inside an empty folder, at which nothing is yet.

    Raises:
        ConfigError: if `path` exists and is not to be overwritten.
        RunError: if it cannot be written, for want of space or of permission.
    """
    refuse_existing("output", path, overwrite)
    absolute = _absolute(path)
    parent, name = os.path.split(absolute)
    # On the same file system, and not in a folder that a failure would leave behind.
    above = parent
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=above) as temporary:
            made = os.path.join(temporary, name)
            yield made
            os.makedirs(parent, exist_ok=True)
            if os.path.lexists(absolute):
                refuse_existing("output", path, overwrite)
                _replace(absolute, made, os.path.join(temporary, f"{name}.replaced"))
            else:
                os.rename(made, absolute)
    except Exception as error:
        if not _is_of_a_file_system(error):
            raise
        reason = getattr(error, "strerror", None) or first_line(error)
        raise RunError(
            f"--output={path} cannot be written: {reason}; give another, or make room there"
        ) from error


def write_texts(folder: str, texts: dict[str, str]) -> None:
    """Writes texts as files of a folder, by their names."""
    for name, text in texts.items():
        with open(os.path.join(folder, name), "w") as file:
            file.write(text)


def _replace(path: str, new: str, aside: str) -> None:
    """Moves what is at a path aside and the new one there; if that fails, the old one comes back."""
    os.rename(path, aside)
    try:
        os.rename(new, path)
    except BaseException:
        os.rename(aside, path)
        raise


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


def _is_of_a_file_system(error: Exception) -> bool:
    """Whether an error comes from the operating system, or from TensorFlow's own way to files."""
    tensorflow = sys.modules.get("tensorflow")
    return isinstance(error, OSError) or (
        tensorflow is not None and isinstance(error, tensorflow.errors.OpError)
    )
