"""What should not be done more often than every so many seconds."""

import time


class Pace:
    """Tells when something is due that should not be done more often than every so many seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._last = time.monotonic()

    def is_due(self) -> bool:
        """Whether the seconds have passed."""
        return time.monotonic() - self._last >= self.seconds

    def done(self) -> None:
        """Counts from now on."""
        self._last = time.monotonic()
