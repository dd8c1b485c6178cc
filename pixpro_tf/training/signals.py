"""Clean exit from training when a signal asks for it, even if a step never finishes."""

import contextlib
import math
import os
import select
import signal
import threading
import time
import types
from collections.abc import Callable, Iterator

# Schedulers send SIGTERM; before it, Slurm's --signal usually sends SIGUSR1, Grid Engine SIGUSR1 or SIGUSR2, and both SIGXCPU at a limit of
# processor time. A terminal sends SIGINT for Ctrl-C, and SIGHUP when it closes.
SIGNALS: tuple[int, ...] = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGXCPU,
)
# Minimum number of seconds in which a running step must finish; three times the duration of the longest step so far, if that is more.
_PATIENCE = 60.0
# Number of seconds after a second signal, for Python's own handling of it.
_LAST_PATIENCE = 2.0


def _end(number: int, reason: str) -> None:
    print(f"Stopped by {signal.Signals(number).name}; {reason}", flush=True)
    os._exit(128 + number)


class Leaving:
    """Handling of signals during training.

    The first signal is recorded, so that training stops after the current step. If no step has been completed yet, the process ends
    immediately. A second signal has its usual effect. Signals that the process ignores, such as SIGHUP under `nohup`, stay ignored.

    Python runs signal handlers in the main thread, which may be waiting inside TensorFlow for an image that never arrives. Therefore a
    separate thread receives signals too, and ends the process if the step does not finish.

    Args:
        end: function that takes the number of the signal and a reason for the user, and ends the process.
        patience: number of seconds in which the run must stop, unless its steps take longer.
        steps: number of steps after which training stops at the latest.
        ends_process: whether signals may end the process when nothing can be saved; otherwise, as in a notebook, a signal before the first
            step has its usual effect, and a step that does not finish goes on.

    Attributes:
        told: number of the first signal; None before it.
    """

    def __init__(
        self,
        end: Callable[[int, str], None] = _end,
        patience: float = _PATIENCE,
        steps: int = 1,
        ends_process: bool = True,
    ) -> None:
        self._end = end
        self._patience = patience
        self._steps = steps
        self._ends_process = ends_process
        self._step_began: float | None = None
        self._longest_step = 0.0
        self._is_saving = False
        self._saved_at = -math.inf
        self.told: int | None = None

    def step_ended(self) -> None:
        """Records the end of a step; must be called after each step."""
        now = time.monotonic()
        # The first step is mostly compilation.
        if self._step_began is not None:
            self._longest_step = max(self._longest_step, now - self._step_began)
        self._step_began = now

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """Context for the last checkpoint, which may take longer than a step; only a second signal ends the process in it."""
        self._is_saving = True
        try:
            yield
            self._saved_at = time.monotonic()
        finally:
            self._is_saving = False

    @property
    def _has_made_steps(self) -> bool:
        return self._step_began is not None

    @contextlib.contextmanager
    def catching(self) -> Iterator[None]:
        """Context in which signals are handled as the class describes; outside of the main thread, which alone receives them, it does nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def receive(number: int, frame: types.FrameType | None) -> None:
            self.told = number
            # The system repeats SIGXCPU every second; only other signals mean more the second time.
            repeated = number == signal.SIGXCPU
            signal.signal(number, signal.SIG_IGN if repeated else previous[number])
            if not self._has_made_steps:
                if self._ends_process:
                    self._end_before_a_step(number)
                else:
                    signal.raise_signal(number)

        previous = {number: signal.getsignal(number) for number in SIGNALS}
        previous = {
            number: handler for number, handler in previous.items() if handler != signal.SIG_IGN
        }
        with self._watched() if self._ends_process else contextlib.nullcontext():
            try:
                for number in previous:
                    signal.signal(number, receive)
                yield
            finally:
                for number, handler in previous.items():
                    if number != self.told or number != signal.SIGXCPU:
                        signal.signal(number, handler)

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """Context in which a thread receives the numbers of signals, too."""
        heard, hears = os.pipe()
        os.set_blocking(hears, False)
        previous_hears = signal.set_wakeup_fd(hears, warn_on_full_buffer=False)
        watcher = threading.Thread(target=self._watch, args=(heard,), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(previous_hears)
            os.close(hears)
            watcher.join()
            os.close(heard)

    def _end_before_a_step(self, number: int) -> None:
        self._end(number, "no step has been completed yet, so there is nothing to save.")

    def _watch(self, heard: int) -> None:
        """Ends the process at the deadline that a signal starts; returns when the other end of the pipe is closed."""
        told: list[int] = []
        deadline = math.inf
        while True:
            left = None if math.isinf(deadline) else max(deadline - time.monotonic(), 0.0)
            if not select.select([heard], [], [], left)[0]:
                if len(told) == 1 and self._is_saving:
                    deadline = time.monotonic() + _LAST_PATIENCE
                    continue
                # After the checkpoint, there is time again to finish the rest.
                after = self._saved_at + self._patience
                if len(told) == 1 and deadline < after:
                    deadline = after
                    continue
                break
            numbers = os.read(heard, 64)
            if not numbers:
                return
            for number in numbers:
                if number in SIGNALS and not (told and number == signal.SIGXCPU):
                    patience = _LAST_PATIENCE
                    if not told and self._has_made_steps:
                        patience = max(self._patience, (self._steps + 2) * self._longest_step)
                    told.append(number)
                    deadline = min(deadline, time.monotonic() + patience)
        if not self._has_made_steps:
            self._end_before_a_step(told[0])
        elif math.isfinite(self._saved_at):
            self._end(told[0], "the checkpoint has been saved; the same command resumes from it.")
        elif self._is_saving:
            self._end(
                told[0],
                "the checkpoint was not complete; the same command resumes from the one before.",
            )
        else:
            self._end(
                told[0],
                "the step did not finish, so nothing was saved; the same command resumes from the last checkpoint.",
            )
