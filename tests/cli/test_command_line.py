"""Flag syntax of all commands: parsing, help, and one line for every mistake."""

import dataclasses
import importlib
import subprocess
import sys

import pytest

from pixpro_tf.cli import command_line
from pixpro_tf.cli.settings import CheckedSettings
from pixpro_tf.config import Config
from pixpro_tf.config.flag import INTERNAL, flag, flag_name, required
from pixpro_tf.errors import ConfigError
from tests.conftest import ROOT

COMMANDS = (
    "pixpro_tf.training.command",
    "pixpro_tf.evaluation.compare",
    "pixpro_tf.evaluation.correspondence",
    "pixpro_tf.evaluation.dense",
    "pixpro_tf.evaluation.detection",
    "pixpro_tf.evaluation.linear",
    "pixpro_tf.visualize",
    "pixpro_tf.tfrecords",
    "pixpro_tf.data_service",
    "pixpro_tf.statistics",
    "pixpro_tf.export.commands.detectron2",
    "pixpro_tf.export.commands.keras_hub",
    "pixpro_tf.export.commands.model_garden",
    "pixpro_tf.export.commands.od_api",
    "pixpro_tf.export.commands.savedmodel",
    "pixpro_tf.export.commands.torch",
    "pixpro_tf.interop.torch.export_command",
    "pixpro_tf.interop.torch.import_command",
    "benchmarks.accelerator.__main__",
    "benchmarks.checkpoints",
    "benchmarks.compare_checkouts",
    "benchmarks.soak.__main__",
    "benchmarks.data",
    "benchmarks.loss_curves",
    "benchmarks.memory",
    "benchmarks.photographs",
    "benchmarks.propagation",
    "benchmarks.report.__main__",
    "benchmarks.report.opening",
    "benchmarks.scaling",
    "benchmarks.scenes",
    "benchmarks.sources",
    "benchmarks.step",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(CheckedSettings):
    """Flags of every type."""

    source: str = required("First", "source of the data", name="from", alias="run")
    kind: str = required("First", "size class", choices=("big", "small"))
    side: int = flag(4, "Second", "side of a square", unit="pixels", minimum=1, maximum=8)
    rates: tuple[float, ...] = flag((0.5, 1.0), "Second", "several", minimum=0.1)
    counts: tuple[int, ...] = flag((1,), "Second", "several", minimum=1)
    names: tuple[str, ...] = flag(("a",), "Second", "several", choices=("a", "b"))
    switch: bool = flag(True, "First", "on or off")
    margin: int = flag(0, "Second", "margin of a big one", minimum=0, used_by={"kind": ("big",)})
    share: float = flag(0.5, "Second", "part of it", minimum=1e-12)
    total: int = flag(1, "Second", "number of all", automatic=True)
    note: str = flag("", "Second", "text")
    detail: int = flag(0, "Second", "part of the note", used_by={"note": ()})
    case: str = flag("", INTERNAL, "flag of a subprocess")


def parse(*arguments):
    return command_line.parse(Settings, ["--from=here", "--kind=big", *arguments])


def refusal(*arguments):
    with pytest.raises(ConfigError) as caught:
        command_line.parse(Settings, list(arguments))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_flags_of_all_types_are_parsed():
    settings = parse("--side", "5", "--rates=0.1, 2", "--counts=3,4", "--names=b,a", "--noswitch")
    assert (settings.source, settings.kind, settings.side) == ("here", "big", 5)
    assert settings.rates == (0.1, 2.0) and settings.counts == (3, 4)
    assert settings.names == ("b", "a") and settings.switch is False
    assert parse() == Settings(source="here", kind="big")


def test_former_name_is_accepted():
    assert command_line.parse(Settings, ["--run=there", "--kind=big"]).source == "there"


def test_settings_can_be_written_as_a_command_line():
    settings = parse("--noswitch", "--rates=0.1,2", "--counts=3,4", "--names=b,a", "--margin=3")
    assert command_line.parse(Settings, command_line.arguments_of(settings)) == settings


def test_flag_file_is_read(tmp_path):
    path = tmp_path / "some.flags"
    path.write_text("# mine\n--side=7\n--noswitch\n")
    settings = parse(f"--flagfile={path}", "--side=6")
    assert settings.side == 6 and settings.switch is False
    assert parse("--flagfile", str(path)).side == 7


def test_a_folder_does_not_hide_a_flag_file_of_the_project(tmp_path, monkeypatch):
    (tmp_path / "own_images").mkdir()
    monkeypatch.chdir(tmp_path)
    assert command_line.parse(Config, ["--flagfile=own_images"]).batch_size == 64


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "--flagfile={} does not exist; use a path, or the name of a flag file"),
        ("", "--flagfile={} is a folder; use a file"),
        (b"\xff", "--flagfile={} is not a text file ("),
        (b"--side 7", "'--side 7' is not a flag; write flags as --name=value"),
        (b"--flagfile={}", "--flagfile={} includes itself, directly or through another flag file"),
    ],
)
def test_unusable_flag_file_is_reported_in_one_line(content, said, tmp_path):
    path = tmp_path / "some.flags"
    if content == "":
        path.mkdir()
    elif content:
        path.write_bytes(content.replace(b"{}", bytes(path)))
    assert refusal(f"--flagfile={path}").startswith(said.format(path))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--from and --kind are missing; --help lists the flags"),
        (["--from=here"], "--kind is missing; --help lists the flags"),
        (["--from=x", "--kind=bug"], "--kind=bug is unknown; did you mean big? choose one of"),
        (["--from=x", "--kind=big", "--side=0"], "--side=0 is too small; the minimum is 1"),
        (["--from=x", "--kind=big", "--side=9"], "--side=9 is too large; the maximum is 8"),
        (["--from=x", "--kind=big", "--side=x"], "--side=x is not a whole number"),
        (["--from=x", "--kind=big", "--rates=1,0.01"], "--rates=1,0.01 is too small"),
        (["--from=x", "--kind=big", "--rates=nan"], "--rates=nan is not a finite number"),
        (
            ["--from=x", "--kind=big", "--rates="],
            "--rates= is not a list of numbers, e.g. 0.01,0.1",
        ),
        (["--from=x", "--kind=big", "--counts=1.5"], "not a list of whole numbers, e.g. 1,2"),
        (["--from=x", "--kind=big", "--names=a,c"], "--names=a,c is unknown; choose one of a, b"),
        (["--from=x", "--kind=small", "--margin=1"], "--margin=1 is unused with --kind=small"),
        (["--from=x", "--kind=big", "--sid=3"], "--sid is unknown; did you mean --side? --help"),
        (["--from=x", "--kind=big", "--noswich"], "did you mean --noswitch? --help"),
        (["--from=x", "--kind=big", "--zzz=3"], "--zzz is unknown; --help lists the flags"),
        (["--from=x", "--kind=big", "--share=x"], "--share=x is not a number"),
        (["--from=x", "--kind=big", "--share=0"], "--share=0.0 must be greater than 0"),
        (["--from=x", "--kind=big", "--total=x"], "--total=x is not a whole number or auto"),
        (["--from=x", "--kind=big", "--switch=3"], "not a boolean; use --switch or --noswitch"),
        (
            ["--from=x", "--kind=big", "--noswitch=true"],
            "--noswitch=true takes no value; use --switch or --noswitch",
        ),
        (["--from=x", "--kind"], "--kind has no value; write flags as --name=value"),
        (["--from=x", "--flagfile"], "--flagfile has no value; write flags as --name=value"),
        (
            ["--from=x", "--kind=big", "--detail=3"],
            "--detail=3 is unused without --note; remove it, or add --note",
        ),
        (["--from=x", "--kind=big", "here"], "'here' is not a flag; write flags as --name=value"),
    ],
)
def test_mistake_is_reported_in_one_line(arguments, said):
    assert said in refusal(*arguments)


def test_help_is_grouped_and_omits_internal_flags():
    lines = command_line.help_text(Settings, "Does it.", ["python -m it"], 80).splitlines()
    assert lines[:3] == ["Does it.", "", "  python -m it"]
    first, second = lines.index("First:"), lines.index("Second:")
    assert [line.split()[0] for line in lines[first + 1 : second] if line[:3] == "  -"] == [
        "--from=...",
        "--kind=...",
        "--[no]switch",
    ]
    assert "  --side=4  [pixels]" in lines and "  --rates=0.5,1" in lines
    assert "      size class (big | small)" in lines
    assert not any("--case" in line for line in lines)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_lists_every_flag(name, capsys):
    main = importlib.import_module(name).main
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert f"\n  {main.checkout}" in printed and main.summary
    for field in dataclasses.fields(main.settings):
        shown = f"--{flag_name(field)}=" in printed or f"--[no]{flag_name(field)} " in printed
        assert shown == (field.metadata["group"] != INTERNAL)


@pytest.mark.parametrize("name", COMMANDS)
def test_command_reports_a_mistake_in_one_line_with_exit_code_two(name, capsys):
    assert importlib.import_module(name).main(["--such_a_flag=1"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1


def test_commands_check_their_flags_before_they_import_tensorflow():
    """Importing it takes seconds, and prints lines before the message about a mistake."""
    names = [name for name in COMMANDS if not name.startswith("benchmarks.")]
    program = (
        "import importlib, sys\n"
        f"for name in {names}:\n"
        "    importlib.import_module(name)\n"
        "    assert 'tensorflow' not in sys.modules, name\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_no_other_module_parses_a_command_line():
    """Every command is in the list above, and none has its own flag syntax."""
    for folder in ("pixpro_tf", "export", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text()
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            if "argparse.ArgumentParser" in text or "DEFINE_" in text:
                assert module == "pixpro_tf.cli.command_line"
            if "main = Command(" in text or "main = command(" in text:
                assert module.replace("evaluation.visualize", "visualize") in COMMANDS
