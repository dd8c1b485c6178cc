"""Handling of signals: after a step, before the first step, and during a step that never finishes."""

import os
import select
import signal
import subprocess
import sys
import threading
import time

import pytest

from pixpro_tf.training import signals
from pixpro_tf.training.signals import Leaving
from tests.conftest import ROOT

pytestmark = pytest.mark.usefixtures("default_signals")


@pytest.fixture
def ends():
    return []


@pytest.fixture
def leaving(ends):
    return Leaving(end=lambda number, reason: ends.append((number, reason)), patience=0.2)


def wait_for(ends):
    deadline = time.monotonic() + 10
    while not ends and time.monotonic() < deadline:
        time.sleep(0.01)
    return ends


@pytest.mark.parametrize("number", signals.SIGNALS, ids=lambda number: signal.Signals(number).name)
def test_signal_after_a_step_is_recorded(leaving, ends, number):
    with leaving.catching():
        leaving.step_ended()
        assert leaving.told is None
        os.kill(os.getpid(), number)
    assert leaving.told == number and not ends


def test_ignored_signals_stay_ignored(leaving, ends):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with leaving.catching():
            leaving.step_ended()
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.05)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert leaving.told is None and not ends


def test_signals_of_terminals_and_schedulers_are_handled():
    assert set(signals.SIGNALS) == set(map(signal.Signals, (1, 2, 10, 12, 15, 24)))


def test_signal_before_the_first_step_ends_the_process(leaving, ends):
    with leaving.catching():
        os.kill(os.getpid(), signal.SIGTERM)
    assert ends[0] == (
        signal.SIGTERM,
        "no step has been completed yet, so there is nothing to save.",
    )


def test_step_that_does_not_finish_is_abandoned(leaving, ends):
    with leaving.catching():
        leaving.step_ended()
        os.kill(os.getpid(), signal.SIGTERM)
        assert wait_for(ends)[0][1].startswith("the step did not finish, so nothing was saved")


def test_a_checkpoint_that_a_second_signal_interrupts_is_not_called_a_step(
    leaving, ends, monkeypatch
):
    monkeypatch.setattr(signals, "_LAST_PATIENCE", 0.1)
    with leaving.catching():
        leaving.step_ended()
        signal.signal(signal.SIGUSR1, lambda *_: None)
        with leaving.saving():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGUSR1)
            assert wait_for(ends)[0][1].startswith("the checkpoint was not complete")


def test_the_last_checkpoint_may_take_longer_than_a_step(leaving, ends):
    with leaving.catching():
        leaving.step_ended()
        os.kill(os.getpid(), signal.SIGTERM)
        with leaving.saving():
            time.sleep(0.6)
        assert not ends


# Workers that agree every few steps get the time of all of them.
@pytest.mark.parametrize(("steps", "seconds", "waited"), [(1, 0.2, 0.4), (5, 0.1, 0.55)])
def test_long_steps_get_more_time(ends, steps, seconds, waited):
    leaving = Leaving(end=lambda *told: ends.append(told), patience=seconds, steps=steps)
    with leaving.catching():
        leaving.step_ended()
        time.sleep(seconds)
        leaving.step_ended()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(waited)
        assert not ends
        wait_for(ends)
    assert ends


def test_the_rest_of_a_run_has_time_after_the_last_checkpoint(leaving, ends):
    with leaving.catching():
        leaving.step_ended()
        os.kill(os.getpid(), signal.SIGTERM)
        with leaving.saving():
            time.sleep(0.3)
        time.sleep(0.1)
        assert not ends
        assert wait_for(ends)[0][1].startswith("the checkpoint has been saved; the same command")


def test_a_limit_of_processor_time_is_told_every_second_and_counts_once(leaving, ends):
    with leaving.catching():
        leaving.step_ended()
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGXCPU)
        assert leaving.told == signal.SIGXCPU and not ends
        with leaving.saving():
            os.kill(os.getpid(), signal.SIGXCPU)
    assert not ends and signal.getsignal(signal.SIGXCPU) == signal.SIG_IGN


def test_a_notebook_is_not_ended(ends):
    leaving = Leaving(end=lambda *told: ends.append(told), patience=0.1, ends_process=False)
    with leaving.catching(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
    with leaving.catching():
        leaving.step_ended()
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.3)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
    assert leaving.told == signal.SIGINT and not ends


def test_nothing_is_caught_outside_of_the_main_thread(leaving):
    handler = signal.getsignal(signal.SIGTERM)
    done = []

    def enter():
        with leaving.catching():
            done.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert done == [handler]


# While the main thread waits for a lock outside Python, Python's signal handlers do not run.
WAITING = """
import ctypes, sys
from pixpro_tf.training.signals import Leaving
leaving = Leaving(patience=0.5)
lock, locked = ctypes.CDLL(None).pthread_mutex_lock, ctypes.create_string_buffer(64)
lock(locked)
with leaving.catching():
    if sys.argv[1] == "after":
        leaving.step_ended()
    print("waiting", flush=True)
    lock(locked)
"""


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ("before", "no step has been completed yet"),
        ("after", "the step did not finish, so nothing"),
    ],
)
def test_process_that_waits_outside_python_ends(when, said):
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING, when],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGTERM)
    assert select.select([process.stdout], [], [], 20)[0]
    assert f"Stopped by SIGTERM; {said}" in process.stdout.read()
    assert process.wait(10) == 128 + signal.SIGTERM
