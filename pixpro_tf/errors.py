"""Errors whose text is for the user: one line or one paragraph, printed without a traceback."""


class UserError(Exception):
    """What a user can mend; `exit_code` is that of the command."""

    exit_code = 1


class ConfigError(UserError, ValueError):
    """A flag that is unknown, out of range, or does not fit the others."""

    exit_code = 2


class RunError(UserError, RuntimeError):
    """Something outside the flags ended a run: a file, a dataset, a number that is not finite."""
