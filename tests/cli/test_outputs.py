"""Tests of outputs that must not replace what a user needs."""

import dataclasses
import os

import pytest

from pixpro_tf.cli.outputs import atomic_output, check_settings
from pixpro_tf.cli.settings import CheckedSettings, overwrite_flag
from pixpro_tf.config.flag import flag, required
from pixpro_tf.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(CheckedSettings):
    output: str = required("Output", "what is written")
    labels: str = flag("", "Data", "labels")
    data_dir: str = flag("", "Data", "prepared datasets")
    split: str = flag("validation", "Data", "split")
    overwrite: bool = overwrite_flag()


@pytest.fixture
def work(tmp_path, monkeypatch):
    """Working directory with a file of the user, whose home folder is beside it."""
    folder = tmp_path / "project" / "work"
    folder.mkdir(parents=True)
    (tmp_path / "home").mkdir()
    (folder / "thesis.tex").write_text("years of work")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return folder


@pytest.mark.parametrize("output", ["", ".", "..", "~", "../../home", "/", "link", "../work/"])
def test_the_working_directory_and_the_home_folder_are_never_replaced(work, output):
    (work / "link").symlink_to(work)
    with (
        pytest.raises(ConfigError, match="and cannot be replaced; use another path"),
        atomic_output(output, overwrite=True) as path,
    ):
        os.makedirs(path)
    assert (work / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("name", ["output", "split"])
def test_an_unset_variable_of_the_shell_is_noticed(name):
    with pytest.raises(ConfigError, match=f"--{name}= is empty; give it a value"):
        Settings(**{"output": "made", name: ""})


def test_a_file_does_not_replace_a_folder(work):
    (work / "made").mkdir()
    with (
        pytest.raises(ConfigError, match="is a folder, which a file would replace; use another"),
        atomic_output("made", overwrite=True) as path,
    ):
        open(path, "w").close()
    assert (work / "made").is_dir()
    assert not [name for name in os.listdir(work) if name.startswith(".made")]


def test_a_folder_replaces_a_file_if_asked(work):
    (work / "made").write_text("not kept")
    with atomic_output("made", overwrite=True) as path:
        os.mkdir(path)
    assert (work / "made").is_dir()


@pytest.mark.parametrize(
    ("labels", "images"),
    [
        ("coco/annotations/a.json", "coco/images"),
        ("coco/annotations/a.json", "coco"),
        ("voc/Annotations", "voc/JPEGImages"),
        ("yolo/labels/train", "yolo/images/train"),
        ("yolo/labels", "yolo/images"),
    ],
)
def test_the_images_of_labels_are_not_replaced(work, labels, images):
    (work / images).mkdir(parents=True)
    (work / os.path.dirname(labels)).mkdir(parents=True, exist_ok=True)
    if labels.endswith(".json"):
        (work / labels).write_text("{}")
    else:
        (work / labels).mkdir()
    with pytest.raises(ConfigError, match=f"--output={images} would replace"):
        check_settings(Settings(output=images, labels=labels, overwrite=True))
    check_settings(Settings(output="results", labels=labels, overwrite=True))


def test_prepared_datasets_are_not_replaced_but_outputs_may_be_beside_them(work):
    (work / "data" / "scenes").mkdir(parents=True)
    (work / "data" / "results").mkdir()
    with pytest.raises(ConfigError, match="--output=data would replace data, which"):
        check_settings(Settings(output="data", data_dir="data", overwrite=True))
    check_settings(Settings(output="data/results", data_dir="data", overwrite=True))
