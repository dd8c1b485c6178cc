"""The README and the docs: their commands can be run, their links lead somewhere, and the site builds without warnings."""

import importlib
import json
import re
import shlex
import subprocess
import sys

import pytest

import pixpro_tf
from pixpro_tf.cli import command_line
from pixpro_tf.training import command
from tests.conftest import ROOT

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(path for path in sorted((ROOT / "docs").rglob("*.md")) if "report" not in path.parts),
]
# Modules whose docstring shows a `--from` that accepts SavedModels; export.savedmodel accepts runs only.
TAKE_SAVEDMODELS = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted((ROOT / "pixpro_tf").rglob("*.py"))
    if re.search(r"^ *python -m (?!export.savedmodel)\S+ --from=", path.read_text(), re.M)
]
PROGRAMS = {
    ("pixpro_tf.interop.torch", "import"): "pixpro_tf.interop.torch.import_command",
    ("pixpro_tf.interop.torch", "export"): "pixpro_tf.interop.torch.export_command",
}
# Written by `make demo`, which comes before the first command of the README.
WRITTEN_FIRST = {"runs/demo", "data"}
READS = ("from", "run", "init_from", "data_dir")
WRITES = ("run_dir", "output")
# Backbones that come from elsewhere, or from nowhere.
NOT_WRITTEN = ("http", "keras:", "random")


def commands_of(page):
    """Command lines of a page that can be copied: indented or fenced, beginning with `python`."""
    text = page.read_text().replace("\\\n", " ")
    lines = re.findall(r"^ *(?:\.venv/bin/)?(python (?:-m |train\.py|examples/).*)$", text, re.M)
    return [shlex.split(line) for line in lines]


def settings_of(arguments):
    """The dataclass of flags of a command line, and its flags."""
    if arguments[1] != "-m":
        return command.main.settings, arguments[2:]
    module, *flags = arguments[2:]
    if flags and (module, flags[0]) in PROGRAMS:
        return importlib.import_module(PROGRAMS[module, flags[0]]).main.settings, flags[1:]
    if module.startswith("export."):
        module = module.replace("export.", "pixpro_tf.export.commands.")
    return importlib.import_module(module).main.settings, flags


COMMANDS = [
    pytest.param(line, id=f"{page.relative_to(ROOT)}: {' '.join(line)[:70]}")
    for page in PAGES
    for line in commands_of(page)
]


def snippets_of(page):
    """Python code of a page, a notebook or an example, as a list of texts of which each runs by itself."""
    if page.suffix == ".ipynb":
        cells = json.loads(page.read_text())["cells"]
        return ["\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")]
    if page.suffix == ".py":
        return [page.read_text()]
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.S)


@pytest.mark.parametrize(
    "page", [*PAGES, *sorted((ROOT / "examples").glob("*.*"))], ids=lambda page: page.name
)
def test_the_package_is_imported_before_tensorflow(page):
    """Otherwise TensorFlow selects Keras 3 on Python 3.12 and newer, and the import of the package ends in an error."""
    for code in snippets_of(page):
        modules = re.findall(r"^ *(?:import|from) (pixpro_tf|tensorflow)\b", code, re.M)
        if "pixpro_tf" in modules:
            assert modules[0] == "pixpro_tf", code


def test_there_are_many_commands():
    assert len(COMMANDS) > 30


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_is_understood(line, monkeypatch):
    monkeypatch.chdir(ROOT)
    settings, flags = settings_of(line)
    # A command before it writes this file.
    flags = [flag for flag in flags if flag != "--flagfile=tiles.flags"]
    assert command_line.parse(settings, flags) is not None


def test_each_command_of_the_readme_reads_what_an_earlier_one_writes():
    written = set(WRITTEN_FIRST)
    read = 0
    for line in commands_of(ROOT / "README.md"):
        flags = re.findall(r"--(\w+)=(\S+)", " ".join(line))
        for name, value in flags:
            if name in READS and not value.startswith(NOT_WRITTEN):
                assert value in written, flags
                read += 1
        written |= {value for name, value in flags if name in WRITES}
    assert read


def test_named_files_and_modules_exist():
    texts = "".join(page.read_text() for page in PAGES)
    files = set(
        re.findall(r"(?:configs|pixpro_tf|tests|examples)/[\w/.]+\.(?:flags|py|ipynb)", texts)
    )
    modules = set(re.findall(r"python -m ((?:pixpro_tf|export|benchmarks)[\w.]+)", texts))
    assert len(files) > 20 and len(modules) > 10
    for file in files:
        assert (ROOT / file).is_file(), file
    for module in modules:
        path = ROOT / module.rstrip(".").replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.slow
def test_the_site_builds_without_warnings(tmp_path):
    process = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", f"--site-dir={tmp_path}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    assert (tmp_path / "api" / "index.html").stat().st_size > 100_000


@pytest.mark.parametrize("name", TAKE_SAVEDMODELS)
def test_a_command_that_accepts_savedmodels_says_that_their_programs_are_not_run(name, capsys):
    assert importlib.import_module(name).main(["--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert (
        "--from" in text
        and "of a SavedModel, the weights are read and its program is not run" in text
    )


def test_the_flag_says_it_too_and_the_function_that_runs_them_warns():
    assert len(TAKE_SAVEDMODELS) >= 8
    assert "its program is not run" in command.main.help_text(width=10**4)
    assert "A SavedModel is a program" in (pixpro_tf.load_backbone.__doc__ or "")


@pytest.mark.slow
@pytest.mark.thorough
def test_the_notebook_runs():
    process = subprocess.run(
        [sys.executable, "scripts/run_notebook.py", "examples/pretrain.ipynb", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr


def test_the_notebook_shows_what_it_computes():
    notebook = json.loads((ROOT / "examples" / "pretrain.ipynb").read_text())
    outputs = [cell["outputs"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    texts = json.dumps(outputs)
    # Random weights, and the run.
    found = re.findall(r"Dense matching accuracy: ([\d.]+) %", texts)
    assert len(found) == 2 and float(found[1]) > float(found[0]) + 3
    assert texts.count("image/png") > 6 and sys.prefix not in texts
