"""Errors whose text is for the user: one line or one paragraph, printed without a traceback."""

import re


class UserError(Exception):
    """What a user can mend; `exit_code` is that of the command."""

    exit_code = 1


class ConfigError(UserError, ValueError):
    """A flag that is unknown, out of range, or does not fit the others."""

    exit_code = 2


class RunError(UserError, RuntimeError):
    """Something outside the flags ended a run: a file, a dataset, a number that is not finite."""


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
