"""Checkpoints that a store keeps, refuses to save and refuses to restore."""

import errno
import resource
import threading
import time

import numpy as np
import pytest
import tensorflow as tf

from pixpro_tf.errors import RunError
from pixpro_tf.storage import checkpoint_files
from pixpro_tf.storage.checkpoints import CheckpointStore, parts_of, save_weights
from tests.support.models import make_model


@pytest.fixture(scope="module")
def model():
    made = make_model()
    made.optimizer.build(made.trainable_variables)
    return made


def save_steps(store, model, steps):
    for step in steps:
        model.optimizer.iterations.assign(step)
        store.save()


def steps_in(folder):
    return sorted(int(path.stem.removeprefix("step-")) for path in folder.glob("step-*.index"))


@pytest.mark.slow
def test_last_few_checkpoints_and_every_nth_are_kept(model, tmp_path):
    store = CheckpointStore(str(tmp_path), model, keep=2, keep_every_steps=4)
    save_steps(store, model, range(1, 10))
    assert steps_in(tmp_path) == [8, 9]
    assert steps_in(tmp_path / "kept") == [4, 8]


def test_old_checkpoints_that_cannot_be_deleted_do_not_end_the_run(
    model, tmp_path, monkeypatch, capsys
):
    def delete(path):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    store = CheckpointStore(str(tmp_path), model, keep=1)
    monkeypatch.setattr(checkpoint_files, "delete", delete)
    save_steps(store, model, [1, 2, 3])
    assert steps_in(tmp_path) == [1, 2, 3] and store.latest == str(tmp_path / "step-3")
    line = "warning: old checkpoints are not cleaned up: [Errno 1] Operation not permitted; the run continues\n"
    assert capsys.readouterr().out == line


def test_restored_values_equal_saved_values(model, tmp_path):
    store = CheckpointStore(str(tmp_path), model)
    save_steps(store, model, [7])
    saved = [weight.numpy() for weight in model.weights]
    other = make_model()
    other.optimizer.build(other.trainable_variables)
    for weight in other.weights:
        weight.assign(weight + 1)
    assert CheckpointStore(str(tmp_path), other).restore() == 7
    for weight, value in zip(other.weights, saved, strict=True):
        np.testing.assert_array_equal(weight, value)


def test_non_finite_weights_are_not_saved(model, tmp_path):
    store = CheckpointStore(str(tmp_path), model)
    save_steps(store, model, [1])
    weight = model.weights[5]
    good = weight.numpy()
    try:
        for value in (np.nan, np.inf):
            weight.assign(np.full_like(good, value))
            with pytest.raises(RunError, match="the weights are not finite at step 2; start a new"):
                save_steps(store, model, [2])
    finally:
        weight.assign(good)
    assert steps_in(tmp_path) == [1]


def test_failed_save_keeps_older_checkpoints(model, tmp_path):
    store = CheckpointStore(str(tmp_path), model)
    save_steps(store, model, [1])
    # TensorFlow first writes a checkpoint's files to a folder of this name; it cannot create the folder where a file exists.
    (tmp_path / "step-2_temp").write_text("")
    with pytest.raises(RunError, match="the checkpoint of step 2 could not be written"):
        save_steps(store, model, [2])
    assert steps_in(tmp_path) == [1]
    assert store.latest == str(tmp_path / "step-1")


def damage(folder, step):
    path = folder / f"step-{step}.data-00000-of-00001"
    path.write_bytes(path.read_bytes()[:1000])


def test_run_resumes_from_newest_readable_checkpoint(model, tmp_path):
    store = CheckpointStore(str(tmp_path), model, keep=3)
    save_steps(store, model, [1, 2, 3, 4])
    damage(tmp_path, 4)
    (tmp_path / "step-3.index").write_bytes(b"damaged")
    store = CheckpointStore(str(tmp_path), model, keep=2)
    assert store.restore() == 2 and store.latest == str(tmp_path / "step-2")
    assert list(store.damaged) == [str(tmp_path / f"step-{step}") for step in (4, 3)]
    # Damaged checkpoints are kept and do not count; a repeated step replaces its own.
    save_steps(store, model, [4, 5])
    assert steps_in(tmp_path) == [3, 4, 5]
    assert CheckpointStore(str(tmp_path), model).restore() == 5


def test_run_resumes_from_permanent_checkpoint_if_no_other_is_readable(model, tmp_path):
    save_steps(CheckpointStore(str(tmp_path), model, keep=1, keep_every_steps=2), model, [2, 3])
    damage(tmp_path, 3)
    assert CheckpointStore(str(tmp_path), model).restore() == 2


@pytest.mark.parametrize("what", ["damaged", "index missing"])
def test_no_run_starts_if_all_checkpoints_are_damaged(model, tmp_path, what):
    save_steps(CheckpointStore(str(tmp_path), model), model, [3])
    if what == "damaged":
        damage(tmp_path, 3)
    else:
        (tmp_path / "step-3.index").unlink()
    message = (
        r"no checkpoint in .* can be read: .*step-3.* is .*; restore the files from a copy, or"
    )
    with pytest.raises(RunError, match=message):
        CheckpointStore(str(tmp_path), model).restore()


def test_empty_folder_starts_a_new_run(model, tmp_path):
    model.optimizer.iterations.assign(0)
    store = CheckpointStore(str(tmp_path / "checkpoints"), model)
    assert store.restore() == 0 and store.latest is None
    assert not list(tmp_path.iterdir())


def test_checkpoint_of_another_model_is_rejected(model, tmp_path):
    save_steps(CheckpointStore(str(tmp_path), model), model, [3])
    other = make_model(projector_dim=8)
    other.optimizer.build(other.trainable_variables)
    with pytest.raises(RunError, match="step-3 is not a checkpoint of this run"):
        CheckpointStore(str(tmp_path), other).restore()


def test_checkpoint_without_the_optimizer_is_rejected(model, tmp_path):
    save_weights(parts_of(model), str(tmp_path))
    with pytest.raises(RunError, match="imported-0 is not a checkpoint of this run"):
        CheckpointStore(str(tmp_path), model).restore()


@pytest.fixture
def blocked(monkeypatch):
    """Blocks the writing of files in the background until the event is set."""
    released = threading.Event()

    def copy(*arguments):
        assert released.wait(60)
        original(*arguments)

    original = checkpoint_files.copy
    monkeypatch.setattr(checkpoint_files, "copy", copy)
    yield released
    released.set()


def test_training_continues_while_a_checkpoint_is_written(model, tmp_path, blocked):
    store = CheckpointStore(str(tmp_path), model, background=True)
    weight = model.weights[5]
    at_save = weight.numpy()
    save_steps(store, model, [3])
    try:
        weight.assign(at_save + 1)
        model.optimizer.iterations.assign(4)
        store.check()
        assert store.latest is None and steps_in(tmp_path) == []
        blocked.set()
        store.wait()
        assert store.latest == str(tmp_path / "step-3") and steps_in(tmp_path) == [3]
        # The checkpoint has the values of the moment at which it was saved.
        assert CheckpointStore(str(tmp_path), model).restore() == 3
        np.testing.assert_array_equal(weight, at_save)
    finally:
        weight.assign(at_save)


def test_checkpoint_written_in_the_background_has_the_same_files(model, tmp_path):
    for name in ("direct", "background"):
        store = CheckpointStore(
            str(tmp_path / name), model, keep=1, keep_every_steps=2, background=name == "background"
        )
        save_steps(store, model, [1, 2])
        store.wait()
    made = [
        {path.relative_to(tmp_path / name): path.read_bytes() for path in files(tmp_path / name)}
        for name in ("direct", "background")
    ]
    assert made[0] == made[1] and len(made[0]) == 6
    # The memory is free again.
    assert tf.io.gfile.glob("ram://checkpoints/*/*") == []


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture
def full_disk():
    """Limits the size of files, so that writing fails in the middle of a file, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_checkpoint_that_cannot_be_written_in_the_background_ends_the_run(
    model, tmp_path, full_disk
):
    store = CheckpointStore(str(tmp_path), model, background=True)
    save_steps(store, model, [2])
    with pytest.raises(RunError, match="the checkpoint of step 2 could not be written"):
        for _ in range(1000):
            store.check()
            time.sleep(0.01)
    assert steps_in(tmp_path) == [] and store.latest is None


def test_what_a_killed_process_was_writing_is_deleted(model, tmp_path):
    (tmp_path / "step-1.data-00000-of-00001.writing").write_bytes(b"half a file")
    store = CheckpointStore(str(tmp_path), model, background=True)
    save_steps(store, model, [2])
    store.wait()
    assert not list(tmp_path.glob("*.writing"))


def test_the_index_of_a_copied_checkpoint_appears_last(model, tmp_path, monkeypatch):
    """Without its index, a checkpoint does not count; with it, its data must be there."""
    save_steps(CheckpointStore(str(tmp_path / "from"), model), model, [3])
    renamed = []

    def rename(source, target, overwrite):
        renamed.append(target.rpartition(".")[2])
        original(source, target, overwrite=overwrite)

    original = tf.io.gfile.rename
    monkeypatch.setattr(tf.io.gfile, "rename", rename)
    (tmp_path / "to").mkdir()
    checkpoint_files.copy(str(tmp_path / "from" / "step-3"), str(tmp_path / "to" / "step-3"))
    assert renamed == ["data-00000-of-00001", "index"]


def test_a_checkpoint_without_files_is_not_copied(tmp_path):
    with pytest.raises(FileNotFoundError):
        checkpoint_files.copy(str(tmp_path / "step-3"), str(tmp_path / "step-4"))
