"""Programs of an installed package: their commands, their help, and mistakes of the user."""

import errno
import os
import subprocess
import sys
import types

import pytest

from pixpro_tf.cli import commands
from pixpro_tf.evaluation.__main__ import main as evaluate
from pixpro_tf.export.__main__ import main as export
from pixpro_tf.interop.__main__ import main as importing
from pixpro_tf.interop.torch.__main__ import main as torch_commands
from tests.conftest import ROOT

PROGRAMS = {program.name: program for program in (evaluate, export, importing, torch_commands)}
COMMANDS = [(name, command) for name, program in PROGRAMS.items() for command in program.modules]


@pytest.mark.parametrize("name", PROGRAMS)
def test_help_lists_the_commands_with_a_summary(name, capsys):
    for arguments in (["--help"], ["-h"]):
        assert PROGRAMS[name](arguments) == 0
        printed = capsys.readouterr().out
        assert f"  {name} COMMAND [--flag=value ...]\n" in printed
        for command in PROGRAMS[name].modules:
            line = next(line for line in printed.splitlines() if line.split()[:1] == [command])
            assert len(line.split()) > 3


@pytest.mark.parametrize(("name", "command"), COMMANDS)
def test_help_of_a_command_shows_the_name_of_the_program(name, command, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [f"/usr/bin/{name}"])
    assert PROGRAMS[name]([command, "--help"]) == 0
    assert f"  {name} {command} --" in capsys.readouterr().out


@pytest.mark.parametrize("name", PROGRAMS)
def test_missing_or_unknown_command_is_rejected_in_one_line(name, capsys):
    names = ", ".join(PROGRAMS[name].modules)
    for arguments, said in (
        (["nothing"], f"error: {name} has no command 'nothing'; use one of {names}\n"),
        ([], f"error: {name} needs a command; use one of {names}, or --help for what they do\n"),
    ):
        assert PROGRAMS[name](arguments) == 2
        assert capsys.readouterr().err == said


def test_other_systems_are_rejected_in_one_line(monkeypatch, capsys):
    windows = types.SimpleNamespace(**(vars(os) | {"name": "nt"}))
    monkeypatch.setattr(commands, "os", windows)
    assert importing(["torch", "--checkpoint=a.pth", "--output=b"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: pixpro_tf runs on Linux and macOS; ")


def test_file_that_cannot_be_used_is_reported_in_one_line(tmp_path, capsys):
    missing = tmp_path / "a\nb"
    assert commands.exit_code_of(lambda: os.listdir(missing)) == 1
    said = f"error: {tmp_path}/a\\nb cannot be read or written: No such file or directory\n"
    assert capsys.readouterr().err == said


def test_errors_of_the_machine_are_reported_in_one_line_and_other_ones_raised(capsys):
    def fail(number):
        raise OSError(number, os.strerror(number))

    assert commands.exit_code_of(lambda: fail(errno.ENOSPC)) == 1
    assert capsys.readouterr().err == "error: [Errno 28] No space left on device\n"
    with pytest.raises(ConnectionRefusedError):
        commands.exit_code_of(lambda: fail(errno.ECONNREFUSED))


def test_texts_are_utf8_in_any_locale(tmp_path):
    code = "import sys; from pixpro_tf.cli.outputs import write_texts; write_texts(sys.argv[1], {'a': '\\u732b \\udcff'})"
    environment = os.environ | {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    command = [sys.executable, "-X", "utf8=0", "-c", code, str(tmp_path)]
    subprocess.run(command, env=environment, cwd=ROOT, check=True)
    assert (tmp_path / "a").read_bytes() == "\u732b ".encode() + b"\xff"
