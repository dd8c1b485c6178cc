"""The programs of an installed package: their commands, their help, and a user's mistakes."""

import sys

import pytest

from pixpro_tf.evaluation import __main__ as evaluate
from pixpro_tf.export import __main__ as export
from pixpro_tf.interop import __main__ as importing
from pixpro_tf.interop.torch import __main__ as torch_commands

PROGRAMS = {"pixpro-evaluate": evaluate, "pixpro-export": export, "pixpro-import": importing}
COMMANDS = [
    (program, command) for program, module in PROGRAMS.items() for command in module.COMMANDS
]


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_lists_the_commands(program, capsys):
    for arguments in (["--help"], ["-h"]):
        assert PROGRAMS[program].main(arguments) == 0
        printed = capsys.readouterr().out
        assert f"usage: {program} {{" in printed
        assert all(command in printed for command in PROGRAMS[program].COMMANDS)


@pytest.mark.parametrize(("program", "command"), COMMANDS)
def test_each_command_helps_under_the_name_of_the_program(program, command, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [f"/usr/bin/{program}"])
    with pytest.raises(SystemExit) as ended:
        PROGRAMS[program].main([command, "--help"])
    assert ended.value.code == 0
    assert f"usage: {program} {command} " in capsys.readouterr().out


@pytest.mark.parametrize("program", [*PROGRAMS, "python -m pixpro_tf.interop.torch"])
def test_an_unknown_command_is_rejected_in_a_line(program, capsys):
    module = PROGRAMS.get(program, torch_commands)
    for arguments, said in (
        (["nothing"], f"error: {program}: invalid choice: 'nothing'; use one of "),
        ([], f"error: {program} needs a command, {'|'.join(module.COMMANDS)}; "),
    ):
        assert module.main(arguments) == 2
        line = capsys.readouterr().err
        assert line.startswith(said) and line.count("\n") == 1
