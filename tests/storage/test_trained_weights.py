"""Checkpoint that a path refers to: the path of a run folder, of its `checkpoints`, or of one of them."""

import shutil

import pytest

import pixpro_tf  # noqa: F401 - chooses Keras 2, so it comes before TensorFlow

# isort: split
import tensorflow as tf

from pixpro_tf.errors import RunError
from pixpro_tf.export import savedmodel
from pixpro_tf.interop.torch import exporting as torch_exporting
from pixpro_tf.storage import model_card, trained_weights
from pixpro_tf.storage.checkpoint_files import find_checkpoint
from pixpro_tf.storage.runs import Progress, Run, is_run
from tests.support.models import make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Finished run at step 3, which keeps its step 2 permanently."""
    folder = tmp_path_factory.mktemp("run")
    make_run(folder, backbone="resnet10w0.5")
    checkpoints = folder / "checkpoints"
    (checkpoints / "kept").mkdir()
    for path in checkpoints.glob("step-3.*"):
        shutil.copy(path, checkpoints / "kept" / path.name.replace("step-3", "step-2"))
    (checkpoints / "checkpoint").unlink()
    return folder


@pytest.mark.parametrize(
    ("path", "checkpoint"),
    [
        ("", "step-3"),
        ("checkpoints", "step-3"),
        ("checkpoints/step-3", "step-3"),
        ("checkpoints/kept", "kept/step-2"),
        ("checkpoints/kept/step-2", "kept/step-2"),
        ("checkpoints/kept/step-2.index", "kept/step-2"),
        ("checkpoints/step-3.data-00000-of-00001", "step-3"),
        ("/checkpoints//step-3", "step-3"),
        ("./checkpoints/./kept/../step-3", "step-3"),
    ],
)
def test_run_opens_from_any_of_its_checkpoints(run, path, checkpoint):
    with trained_weights.open_weights(f"{run}/{path}") as weights:
        assert weights.checkpoint == f"{run}/checkpoints/{checkpoint}"
    assert weights.architecture == "resnet10w0.5" and weights.layout == "torchvision"
    assert Run.open(f"{run}/{path}").progress == Progress(3, 3)


@pytest.mark.parametrize("where", [".", "checkpoints", "checkpoints/kept"])
def test_the_run_of_a_relative_path_and_of_a_link_is_found(run, where, tmp_path, monkeypatch):
    """Otherwise the layout of a checkpoint would be unknown, and not be checked."""
    link = tmp_path / "best"
    link.symlink_to(run / where)
    monkeypatch.chdir(link)
    for path in (".", f"{link}", f"{link}/"):
        assert is_run(path) and Run.open(path).config.backbone == "resnet10w0.5"
    if where != ".":
        (name,) = {path.stem for path in link.glob("step-*.index")}
        for path in (name, f"{name}.index", f"./{name}", f"{link}/{name}"):
            assert is_run(path) and Run.open(path).config.backbone == "resnet10w0.5"


def test_the_checkpoints_of_a_run_may_be_a_link(run, tmp_path, monkeypatch):
    """Users keep them on scratch; the layout of the run must be known all the same."""
    shutil.copytree(run, tmp_path / "run")
    shutil.move(tmp_path / "run" / "checkpoints", tmp_path / "scratch")
    (tmp_path / "run" / "checkpoints").symlink_to(tmp_path / "scratch")
    monkeypatch.chdir(tmp_path)
    for path in (
        "run",
        "run/checkpoints",
        "run/checkpoints/step-3",
        "./run/checkpoints/kept/step-2",
    ):
        for each in (path, f"{tmp_path}/{path}"):
            assert is_run(each) and Run.open(each).config.backbone == "resnet10w0.5"
            with trained_weights.open_weights(each) as weights:
                assert is_run(weights.checkpoint)


def test_a_run_may_have_the_name_of_the_folder_of_checkpoints(run, tmp_path):
    shutil.copytree(run, tmp_path / "checkpoints")
    assert Run.open(f"{tmp_path}/checkpoints").progress == Progress(3, 3)


@pytest.mark.slow
def test_kept_checkpoint_is_exported(run, tmp_path):
    kept = f"{run}/checkpoints/kept/step-2"
    savedmodel.export(kept, str(tmp_path / "exported"))
    card = model_card.read(str(tmp_path / "exported"))
    # The step inside the checkpoint counts: the copy is step 3 under another name.
    assert card is not None and card["training"]["step"] == 3
    assert torch_exporting._batches_tracked(Run.open(kept)) == 6


def test_another_checkpoint_is_named_if_the_newest_one_is_damaged(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / "checkpoints" / "step-3.data-00000-of-00001").write_bytes(b"")
    other = f"use another checkpoint, such as {copy}/checkpoints/kept/step-2$"
    with pytest.raises(RunError, match=other):
        trained_weights.restore_backbone(str(copy))
    assert trained_weights.restore_backbone(f"{copy}/checkpoints/kept/step-2")


@pytest.mark.parametrize("path", ["checkpoints/step-4", "checkpoints/kept/step-3", "elsewhere"])
def test_missing_checkpoint_is_reported(run, path):
    with pytest.raises(RunError):
        Run.open(f"{run}/{path}")


def test_checkpoint_outside_a_run_is_rejected(run, tmp_path):
    tf.train.Checkpoint(weights=tf.Variable(1.0)).write(str(tmp_path / "checkpoints" / "step-1"))
    with pytest.raises(RunError, match=r"config\.json is missing or damaged"):
        Run.open(str(tmp_path / "checkpoints" / "step-1"))


def test_checkpoints_of_other_programs_are_found_by_their_list(tmp_path):
    checkpoint = tf.train.Checkpoint(weights=tf.Variable(1.0))
    manager = tf.train.CheckpointManager(checkpoint, str(tmp_path), max_to_keep=2)
    newest = [manager.save() for _ in range(2)][-1]
    assert find_checkpoint(str(tmp_path)) == newest
    (tmp_path / "checkpoint").write_text("garbled")
    assert find_checkpoint(str(tmp_path)) is None
