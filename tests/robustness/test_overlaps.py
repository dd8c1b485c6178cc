"""Outputs and runs in the same place as what is read: nothing is replaced, and no figure becomes an image."""

import os
import shutil

import pytest

from pixpro_tf.config import Config
from pixpro_tf.errors import ConfigError
from pixpro_tf.evaluation import correspondence, dense, linear, visualize
from pixpro_tf.export.commands import savedmodel
from pixpro_tf.export.commands import torch as torch_command
from pixpro_tf.interop.torch import export_command, import_command
from pixpro_tf.statistics import main as statistics
from pixpro_tf.tfrecords import main as tfrecords
from tests.support import tiny_run
from tests.support.models import make_run


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Folder of a run and of images."""
    folder = tmp_path_factory.mktemp("place")
    make_run(folder / "run", backbone="resnet10w0.5")
    (folder / "images").mkdir()
    tiny_run.write_photos(folder / "images")
    (folder / "link").symlink_to(folder / "images")
    (folder / "weights.pth").write_bytes(b"weights")
    shutil.make_archive(str(folder / "archive"), "zip", folder / "images")
    return folder


def contents(folder):
    return {path: os.stat(path).st_mtime_ns for path in sorted(folder.rglob("*"))}


FROM = "--from={0}/run"
EVALUATIONS = [
    (main, [FROM, "--dataset=folder:{0}/images"])
    for main in (dense.main, linear.main, correspondence.main)
]
CASES = [
    *((main, flags, "{0}/images") for main, flags in EVALUATIONS),
    *((main, flags, "{0}/images/figures") for main, flags in EVALUATIONS),
    *((main, flags, "{0}/run") for main, flags in EVALUATIONS),
    *((main, flags, "{0}/run/checkpoints") for main, flags in EVALUATIONS),
    (visualize.main, [FROM, "--images=folder:{0}/images"], "{0}/images"),
    (visualize.main, [FROM, "--images=folder:{0}/images"], "{0}/link/new"),
    (visualize.main, [FROM, "--images={0}/images/00.jpg,{0}/images/01.jpg"], "{0}/images"),
    (visualize.main, [FROM, "--images={0}/images/00.jpg,{0}/images/01.jpg"], "{0}/images/01.jpg"),
    (visualize.main, [FROM, "--images=photographs"], "{0}/run"),
    (tfrecords, ["--images=folder:{0}/images"], "{0}/images"),
    (tfrecords, ["--images=folder:{0}/images"], "{0}/images/shards"),
    (tfrecords, ["--images=folder:{0}/images"], "{0}"),
    (tfrecords, ["--images=zip:{0}/archive.zip"], "{0}/archive.zip"),
    (statistics, ["--images=zip:{0}/archive.zip"], "{0}/archive.zip"),
    (statistics, ["--images=folder:{0}/images"], "{0}/images/00.jpg"),
    (export_command.main, [FROM], "{0}/run"),
    (export_command.main, [FROM], "{0}/run/config.json"),
    (import_command.main, ["--checkpoint={0}/weights.pth"], "{0}/weights.pth"),
    (import_command.main, ["--checkpoint={0}/weights.pth"], "{0}"),
    (savedmodel.main, [FROM], "{0}/run/checkpoints"),
    (savedmodel.main, ["--from={0}/run/checkpoints/step-3"], "{0}/run/checkpoints"),
    (savedmodel.main, [FROM], "{0}/run/../run"),
]


@pytest.mark.parametrize("case", range(len(CASES)))
def test_an_output_replaces_nothing_that_is_read(case, place, capsys):
    main, flags, output = CASES[case]
    before = contents(place)
    given = [flag.format(place) for flag in (*flags, f"--output={output}", "--overwrite")]
    assert main(given) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: --output={output.format(place)} ")
    assert "would replace" in line or "is inside" in line
    assert line.endswith(", which this command reads; use another path")
    assert contents(place) == before


def test_an_output_may_be_beside_what_is_read(place, capsys):
    for output in ("run/exported.safetensors", "exported.safetensors"):
        assert torch_command.main([f"--from={place}/run", f"--output={place}/{output}"]) == 0
        os.remove(place / output)


@pytest.mark.parametrize("run", ["images", "images/run", "link/run", "images/a/../b"])
def test_a_run_is_not_inside_its_images(place, run, monkeypatch):
    config = Config(dataset=f"folder:{place}/images", run_dir=f"{place}/{run}")
    with pytest.raises(
        ConfigError, match=r"contains --run_dir=.* would be read as training images; use a"
    ):
        config.check_surroundings()
    monkeypatch.chdir(place / "images")
    with pytest.raises(ConfigError, match="contains --run_dir=run"):
        Config(dataset="folder:.", run_dir="run").check_surroundings()
    Config(dataset="folder:.", run_dir="../run").check_surroundings()
