"""Output that appears complete or not at all, and never in the place of what is there."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator

from pixpro_tf.errors import ConfigError, RunError, first_line


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


def check_output(source: str, output: str, overwrite: bool) -> None:
    """Refuses an output that is there already, or that would replace what it is made from; before any work is done.

    Raises:
        ConfigError: with the reason.
    """
    refuse_existing("output", output, overwrite)
    if "://" in source:
        return
    made, given = (os.path.realpath(os.path.expanduser(path)) for path in (output, source))
    if os.path.commonpath([made, given]) == made:
        raise ConfigError(
            f"--output={output} would replace {source}, which is exported; give another"
        )


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
