"""Identification of the run in a folder, and the errors if it cannot be identified."""

import dataclasses
import json
import pathlib

import pytest

from pixpro_tf.config import Config
from pixpro_tf.errors import ConfigError, RunError
from pixpro_tf.storage.run_folder import (
    RunFolder,
    check_same_images,
    find_run_folder,
    locked,
    read_bad_images,
    start_run_folder,
)


@pytest.fixture
def config(tmp_path):
    return Config(dataset="imagenet2012", run_dir=str(tmp_path / "run"))


@pytest.fixture
def folder(config, tmp_path):
    """Folder of a run that was started with 48 images and has a checkpoint."""
    made = find_run_folder(config)
    start_run_folder(config, made, 48, [b"a.jpg", b"odd-\xff.jpg"], "names")
    checkpoints = tmp_path / "run" / "checkpoints"
    checkpoints.mkdir()
    (checkpoints / "step-1.index").touch()
    assert made.has_checkpoint
    return made


def test_run_resumes_in_its_own_folder(config, folder):
    assert find_run_folder(config) == folder
    check_same_images(config, folder, 48, "names")
    assert read_bad_images(folder) == [b"a.jpg", b"odd-\xff.jpg"]


def test_added_or_removed_images_are_detected(config, folder):
    with pytest.raises(RunError, match=r"imagenet2012 has 47 images, but the run in .* with 48; "):
        check_same_images(config, folder, 47, "names")


def test_renamed_images_are_detected(config, folder):
    with pytest.raises(RunError, match=r"has other image names .*--init_from="):
        check_same_images(config, folder, 48, "others")


def test_the_images_may_be_in_another_place(config, folder):
    moved = dataclasses.replace(config, dataset="folder:/elsewhere")
    assert find_run_folder(moved) == folder
    with pytest.raises(RunError, match=r"--dataset=folder:/elsewhere has other image names"):
        check_same_images(moved, folder, 48, "others")


def test_a_run_of_an_older_version_knows_only_its_dataset(config, folder):
    description = json.loads((pathlib.Path(folder.config)).read_text())
    del description["images_digest"]
    pathlib.Path(folder.config).write_text(json.dumps(description))
    check_same_images(config, folder, 48, "any")
    with pytest.raises(
        ConfigError, match=r"--dataset=folder:/elsewhere \(the run has imagenet2012"
    ):
        find_run_folder(dataclasses.replace(config, dataset="folder:/elsewhere"))


def test_new_run_may_have_any_number_of_images(config, tmp_path):
    check_same_images(config, find_run_folder(config), 47, "names")


@pytest.mark.parametrize("text", [None, "", "[]", '{"flags": {}}', '{"num_images": 48}', "{"])
def test_damaged_description_is_reported(config, folder, text, tmp_path):
    path = tmp_path / "run" / "config.json"
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(RunError, match=r"config\.json is missing or damaged"):
        find_run_folder(config)


@pytest.mark.parametrize("text", [None, "", "{}{}", "[1]", "{", "[" * 10_000])
def test_a_damaged_list_of_skipped_images_is_reported(folder, text):
    path = pathlib.Path(folder.bad_images)
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(RunError, match=r"bad_images\.json is missing or damaged, .*--init_from="):
        read_bad_images(folder)


def test_folder_of_another_run_is_rejected_with_the_differing_flags(config, folder, tmp_path):
    other = Config(dataset="imagenet2012", run_dir=config.run_dir, gamma=4.0)
    with pytest.raises(ConfigError, match=r"--gamma=4.0 \(the run has 2.0\).*--init_from="):
        find_run_folder(other)


def test_folder_that_cannot_be_created_is_reported(tmp_path):
    (tmp_path / "file").touch()
    config = Config(dataset="imagenet2012", run_dir=str(tmp_path / "file" / "run"))
    folder = find_run_folder(config)
    with pytest.raises(RunError, match=r"--run_dir=.*file/run cannot be written: .*; use another"):
        start_run_folder(config, folder, 48, [])


@pytest.mark.parametrize("part", ["checkpoints", "checkpoints/kept"])
def test_a_file_instead_of_the_folder_of_checkpoints_is_rejected(tmp_path, part):
    (tmp_path / part).parent.mkdir(exist_ok=True)
    (tmp_path / part).touch()
    message = f"^{tmp_path}/{part} must be a folder"
    with pytest.raises(RunError, match=message), locked(RunFolder(str(tmp_path))):
        pass


def test_two_runs_cannot_lock_the_same_folder(config):
    folder = find_run_folder(config)
    # The second iteration shows that the first lock was released.
    for _ in range(2):
        with (
            locked(folder),
            pytest.raises(ConfigError, match="is in use by another run"),
            locked(folder),
        ):
            pass


def test_description_contains_flags_images_and_versions(folder, config):
    with open(folder.config) as file:
        description = json.load(file)
    assert description["flags"] == config.to_dict()
    assert description["num_images"] == 48
    assert set(description["versions"]) == {"pixpro_tf", "tensorflow", "python"}


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl"])
def test_files_of_another_program_are_not_replaced(config, tmp_path, name):
    theirs = tmp_path / "run" / name
    theirs.parent.mkdir()
    theirs.write_text('{"backbone": "of another program"}')
    with pytest.raises(RunError, match=r"config\.json is missing or damaged.*; use another folder"):
        find_run_folder(config)


def test_an_attempt_that_ended_before_its_first_checkpoint_is_replaced(config):
    made = find_run_folder(config)
    start_run_folder(config, made, 48, [], "names")
    pathlib.Path(made.metrics).write_text("")
    assert find_run_folder(dataclasses.replace(config, epochs=7)) == made


def test_a_file_system_that_cannot_be_reached_is_reported_in_one_line(config):
    with pytest.raises(RunError, match=r"nothere://bucket/run cannot be read: "):
        find_run_folder(dataclasses.replace(config, run_dir="nothere://bucket/run"))
