"""Errors whose text is for the user: one line or one paragraph, printed without a traceback."""

import contextlib
import re
from collections.abc import Iterator


class UserError(Exception):
    """What a user can mend; `exit_code` is that of the command.

    Args:
        message: what is wrong, and what to do.
        of: name of the argument whose value the message begins with, `dataset`. A command calls it by its flag, `--dataset`.

    Example:
        >>> import pixpro_tf
        >>> try:
        ...     pixpro_tf.Config(batch_size=0)
        ... except pixpro_tf.UserError as error:
        ...     print(error)
        --batch_size=0 is too small; give at least 1
    """

    exit_code = 1

    def __init__(self, message: str, *, of: str = "") -> None:
        super().__init__(message)
        self.message, self.of = message, of

    def __str__(self) -> str:
        return f"{self.of}={self.message}" if self.of else self.message

    @property
    def line(self) -> str:
        """What a command says of it."""
        return f"--{self}" if self.of else self.message


class ConfigError(UserError, ValueError):
    """A flag that is unknown, out of range, or does not fit the others.

    Example:
        >>> import pixpro_tf
        >>> pixpro_tf.Config(backbone="resnet51")
        Traceback (most recent call last):
        pixpro_tf.errors.ConfigError: --backbone=resnet51 is not known; did you mean resnet50? ...
    """

    exit_code = 2


class RunError(UserError, RuntimeError):
    """Something outside the flags ended a run: a file, a dataset, a number that is not finite.

    Example:
        >>> import pixpro_tf
        >>> pixpro_tf.load_backbone("runs/nowhere")
        Traceback (most recent call last):
        pixpro_tf.errors.RunError: runs/nowhere is neither a run's folder, ...
    """


@contextlib.contextmanager
def argument_called(**names: str) -> Iterator[None]:
    """Errors of the block call an argument as its caller does: `argument_called(dataset="images")`."""
    try:
        yield
    except UserError as error:
        error.of = names.get(error.of, error.of)
        raise


def listed(names: list[str], at_most: int) -> str:
    """`a, b and 3 more`, as a part of a line of ours."""
    more = len(names) - at_most
    return ", ".join(names[:at_most]) + (f" and {more} more" if more > 0 else "")


def first_line(error: BaseException) -> str:
    """What another library's error says, as a part of a line of ours; without the nodes and ops that TensorFlow wraps it in."""
    lines = str(error).strip().splitlines()
    if not lines:
        return type(error).__name__
    line = lines[0]
    if line == "Graph execution error:":
        # Then come the places in the code; what went wrong stands before the first node.
        nodes = [place for place, text in enumerate(lines) if text.lstrip().startswith("[[")]
        line = lines[nodes[0] - 1] if nodes else lines[-1]
    return re.sub(r"^\{\{.*?\}\} | \[Op:\w+\].*$", "", line)
