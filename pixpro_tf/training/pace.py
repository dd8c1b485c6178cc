"""Limit on how often an action is performed."""

import time


class Pace:
    """Tells when an action is due that must not be performed more often than every `seconds` seconds.

    Args:
        seconds: minimum number of seconds between two actions.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._last = time.monotonic()

    def is_due(self) -> bool:
        """Returns whether the seconds have passed since the last action."""
        return time.monotonic() - self._last >= self.seconds

    def done(self) -> None:
        """Records that the action has been performed; the seconds count from now."""
        self._last = time.monotonic()
