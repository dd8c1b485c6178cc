"""The commands of the README, read in their order."""

import re

from tests.conftest import ROOT

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
