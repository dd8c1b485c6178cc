"""Errors with a message for the user: one line or one paragraph, printed without a traceback."""

import contextlib
import errno
import os
import re
from collections.abc import Iterator


class UserError(Exception):
    """Error that the user can fix; `exit_code` is the exit code of the command.

    Args:
        message: text that says what is wrong, and what to do.
        of: name of the argument whose value the message begins with, e.g. `dataset`. A command shows it as a flag, `--dataset`.

    Examples:
        >>> import pixpro_tf
        >>> try:
        ...     pixpro_tf.Config(batch_size=0)
        ... except pixpro_tf.UserError as error:
        ...     print(error)
        --batch_size=0 is too small; the minimum is 1
    """

    exit_code = 1

    def __init__(self, message: str, *, of: str = "") -> None:
        super().__init__(message)
        self.message, self.of = message, of

    def __str__(self) -> str:
        return f"{self.of}={self.message}" if self.of else self.message

    @property
    def line(self) -> str:
        """Message as a command prints it: one line, also with the name of a file that contains a newline or is not valid UTF-8."""
        text = f"--{self}" if self.of else self.message
        return printable(text)


class ConfigError(UserError, ValueError):
    """Error in a flag that is unknown, out of range, or inconsistent with other flags.

    Examples:
        >>> import pixpro_tf
        >>> pixpro_tf.Config(backbone="resnet51")
        Traceback (most recent call last):
        pixpro_tf.errors.ConfigError: --backbone=resnet51 is unknown; did you mean resnet50? ...
    """

    exit_code = 2


class RunError(UserError, RuntimeError):
    """Error outside the flags that ends a run: a file, a dataset, a number that is not finite.

    Examples:
        >>> import pixpro_tf
        >>> pixpro_tf.load_backbone("runs/nowhere")
        Traceback (most recent call last):
        pixpro_tf.errors.RunError: runs/nowhere is not a run folder, ...
    """


def printable(text: str) -> str:
    """Returns a text as one line of valid Unicode: the name of a file can contain newlines and bytes that are not UTF-8.

    The error of a Python function in a graph must be valid Unicode; with any other message, TensorFlow ends the process.
    """
    return "\\n".join(text.splitlines()).encode(errors="backslashreplace").decode()


# Errors that reading a damaged or crafted JSON file, and using what it contains, can raise.
DAMAGED_JSON = (ValueError, TypeError, KeyError, AttributeError, RecursionError)

# What TensorFlow writes before a message: the node, and, in newer versions, the transformation of a tf.data pipeline.
_WRAPPING = re.compile(
    r"^(\{\{.*?\}\} )?(Error in user-defined function passed to \S+ transformation with iterator: Iterator::\S+: )?"
)

# What TensorFlow makes of the message of an assertion: in a graph, where it is the first of the parts in brackets, and outside.
_ASSERTIONS = (
    re.compile(r"assertion failed: \[(?P<message>.*?)\](?: \[.*)?"),
    re.compile(
        r"Expected '.*' to be true\. Summarized data: b(?P<quote>['\"])(?P<message>.*)(?P=quote)"
    ),
)


@contextlib.contextmanager
def argument_called(**names: str) -> Iterator[None]:
    """Renames an argument in the errors of the block to the name its caller uses: `argument_called(dataset="images")`."""
    try:
        yield
    except UserError as error:
        error.of = names.get(error.of, error.of)
        raise


def why_unusable(path: str) -> str:
    """Returns the reason why TensorFlow cannot use a path; empty if it can.

    Source: https://github.com/tensorflow/tensorflow/issues/34290 for the patterns.
    """
    if path.startswith(("http://", "https://")):
        return ""
    if pattern := re.search(r"[*?\[\]\\]", path):
        return f"contains {pattern[0]}, which TensorFlow interprets as a pattern"
    try:
        path.encode()
    except UnicodeEncodeError:
        return "contains a byte that is not valid UTF-8, which TensorFlow rejects"
    return ""


def why_not_a_folder(path: str) -> str:
    """Returns the reason why a path cannot be used as a folder; empty if it is a folder."""
    if os.path.isdir(path):
        return ""
    return "is a file, not a folder" if os.path.exists(path) else "does not exist"


def is_of_full_disk(error: Exception) -> bool:
    """Returns whether an error is one of a full disk or an exceeded quota: TensorFlow raises the same error for exhausted memory."""
    return any(os.strerror(number) in str(error) for number in (errno.ENOSPC, errno.EDQUOT))


def why_unwritable(error: Exception) -> str:
    """Returns the reason why a file cannot be written, and what to do before the same command is run again.

    Args:
        error: error of the operating system, or of the file systems of TensorFlow.
    """
    reason = getattr(error, "strerror", None) or first_line(error)
    if is_of_full_disk(error):
        return f"{reason}; free some space, then run the same command again"
    return f"{reason}; make it writable, or use another path"


def listed(names: list[str], at_most: int) -> str:
    """Returns a list such as `a, b and 3 more`, for use in a message."""
    more = len(names) - at_most
    return ", ".join(names[:at_most]) + (f" and {more} more" if more > 0 else "")


def first_line(error: BaseException) -> str:
    """Returns the message of another library's error as one line, without the nodes and ops that TensorFlow wraps around it."""
    lines = [_WRAPPING.sub("", line) for line in str(error).strip().splitlines()]
    if not lines:
        return type(error).__name__
    line = lines[0]
    if len(lines) > 1 and lines[1].startswith("Traceback"):
        # The error of a Python function that a graph has called, of which TensorFlow's message contains the class and the traceback.
        return line.partition(": ")[2] or line
    if line == "Graph execution error:":
        # The locations in the code follow; the actual message is on the line before the first node.
        nodes = [place for place, text in enumerate(lines) if text.lstrip().startswith("[[")]
        line = lines[nodes[0] - 1] if nodes else lines[-1]
    line = re.sub(r" \[Op:\w+\].*$", "", line)
    for assertion in _ASSERTIONS:
        if found := assertion.fullmatch(line):
            return found["message"]
    return line
