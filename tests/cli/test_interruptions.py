"""Tests of what Ctrl-C and the signals of schedulers, containers and terminals do to a command."""

import dataclasses
import os
import signal
import subprocess
import sys

import pytest

from pixpro_tf.cli import interruptions, outputs
from pixpro_tf.cli.commands import Command
from pixpro_tf.cli.settings import CheckedSettings, overwrite_flag
from pixpro_tf.config.flag import required

pytestmark = pytest.mark.usefixtures("default_signals")
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(CheckedSettings):
    output: str = required("Output", "what is written")
    overwrite: bool = overwrite_flag()


def handlers():
    return [signal.getsignal(number) for number in SIGNALS]


@pytest.mark.parametrize("number", SIGNALS)
def test_an_interrupted_command_leaves_nothing_half_written(number, tmp_path, capsys):
    def run(settings):
        with outputs.atomic_output(settings.output, settings.overwrite) as path:
            os.makedirs(path)
            os.kill(os.getpid(), number)
            pytest.fail("goes on")

    before = handlers()
    command = Command(Settings, "Writes.", "python -m writes", run)
    (tmp_path / "made").write_text("an earlier output")
    for arguments in ([f"--output={tmp_path}/new"], [f"--output={tmp_path}/made", "--overwrite"]):
        assert command(arguments) == 128 + number
        assert capsys.readouterr().err == "Stopped.\n"
    assert os.listdir(tmp_path) == ["made"]
    assert (tmp_path / "made").read_text() == "an earlier output"
    assert handlers() == before


@pytest.mark.parametrize("number", SIGNALS)
def test_the_old_output_is_not_lost_while_a_new_one_replaces_it(number, tmp_path, monkeypatch):
    made = tmp_path / "made"
    made.write_text("old")
    rename = os.rename

    def renamed(path, new):
        rename(path, new)
        if path == str(made):
            # The old output is in the temporary folder now, and the new one not yet in its place.
            os.kill(os.getpid(), number)

    monkeypatch.setattr(os, "rename", renamed)
    with (
        pytest.raises(KeyboardInterrupt),
        interruptions.raised(),
        outputs.atomic_output(str(made), overwrite=True) as path,
        open(path, "w") as file,
    ):
        file.write("new")
    assert made.read_text() == "new"
    assert os.listdir(tmp_path) == ["made"]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_second_signal_interrupts_a_block_that_does_not_end(number):
    before = handlers()
    with (
        interruptions.raised(),
        pytest.raises(KeyboardInterrupt),
        interruptions.postponed(),
    ):
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
        pytest.fail("goes on")
    assert handlers() == before


def test_signals_that_the_process_ignores_stay_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with interruptions.raised(), interruptions.postponed():
        os.kill(os.getpid(), signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_a_second_signal_ends_a_process_that_does_not_react(tmp_path):
    program = """
import signal, time
from pixpro_tf.cli import interruptions
with interruptions.raised():
    while True:
        try:
            print("waiting", flush=True)
            time.sleep(60)
        except KeyboardInterrupt as error:
            print(error, error.number, flush=True)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, bufsize=1
    )
    with process:
        for expected in ("waiting", "SIGTERM 15"):
            assert process.stdout.readline() == f"{expected}\n"
            if expected == "waiting":
                process.terminate()
        assert process.stdout.readline() == "waiting\n"
        process.terminate()
        assert process.wait(10) == -signal.SIGTERM
