"""The commands of the README, read in their order, and what the commands say of what they take."""

import importlib
import re

import pytest

import pixpro_tf
from pixpro_tf.training import command
from tests.conftest import ROOT

# By the examples in their docstrings; what exports a SavedModel takes runs only.
TAKE_SAVEDMODELS = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted((ROOT / "pixpro_tf").rglob("*.py"))
    if re.search(r"^ *python -m (?!export.savedmodel)\S+ --from=", path.read_text(), re.M)
]
# What `make demo` writes.
WRITTEN_FIRST = {"runs/demo", "data"}
READS = ("from", "run", "init_from", "data_dir")
WRITES = ("run_dir", "output")


def commands():
    """The commands in the README, each as a dict of its flags."""
    text = (ROOT / "README.md").read_text().replace("\\\n", " ")
    lines = re.findall(r"^    (?:\.venv/bin/)?(python .*)$", text, re.M)
    return [dict(re.findall(r"--(\w+)=(\S+)", line)) for line in lines if "[" not in line]


def test_each_command_reads_what_one_before_has_written():
    written = set(WRITTEN_FIRST)
    read = 0
    for flags in commands():
        for name in READS:
            if name in flags and not flags[name].startswith("http"):
                assert flags[name] in written, flags
                read += 1
        written |= {flags[name] for name in WRITES if name in flags}
    assert read > 4


def test_flag_files_and_modules_are_there():
    text = (ROOT / "README.md").read_text()
    files = set(re.findall(r"configs/[\w/]+\.flags", text))
    modules = set(re.findall(r"-m ((?:pixpro_tf|export|benchmarks)[\w.]+)", text))
    assert len(files) > 8 and len(modules) > 10
    assert all((ROOT / file).is_file() for file in files)
    for module in modules:
        path = ROOT / module.rstrip(".").replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module


@pytest.mark.parametrize("name", TAKE_SAVEDMODELS)
def test_a_command_that_takes_a_savedmodel_says_that_it_is_a_program(name, capsys):
    assert importlib.import_module(name).main(["--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "--from" in told and "a SavedModel is a program" in told


def test_so_do_the_flag_and_the_function_that_take_one():
    assert len(TAKE_SAVEDMODELS) >= 8
    assert "a SavedModel is a program" in command.main.help_text(width=10**4)
    assert "A SavedModel is a program" in (pixpro_tf.load_backbone.__doc__ or "")
