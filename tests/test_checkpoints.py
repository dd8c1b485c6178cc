"""What a store keeps, refuses to save and refuses to restore."""

import numpy as np
import pytest

from pixpro_tf.checkpoints import CheckpointStore, parts_of, save_weights
from pixpro_tf.errors import RunError
from tests.models import make_model


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
def test_the_last_few_stay_and_every_nth_for_good(model, tmp_path):
    store = CheckpointStore(str(tmp_path), model, keep=2, keep_every_steps=4)
    save_steps(store, model, range(1, 10))
    assert steps_in(tmp_path) == [8, 9]
    assert steps_in(tmp_path / "kept") == [4, 8]


def test_what_is_restored_is_what_was_saved(model, tmp_path):
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


def test_weights_that_are_not_finite_are_not_saved(model, tmp_path):
    store = CheckpointStore(str(tmp_path), model)
    save_steps(store, model, [1])
    weight = model.weights[5]
    good = weight.numpy()
    try:
        for value in (np.nan, np.inf):
            weight.assign(np.full_like(good, value))
            with pytest.raises(RunError, match="the weights are not finite at step 2; lower --ba"):
                save_steps(store, model, [2])
    finally:
        weight.assign(good)
    assert steps_in(tmp_path) == [1]


def test_a_checkpoint_that_cannot_be_written_leaves_the_older_ones(model, tmp_path):
    store = CheckpointStore(str(tmp_path), model)
    save_steps(store, model, [1])
    # TensorFlow writes a checkpoint's files there before it moves them; nobody can make a folder of a file.
    (tmp_path / "step-2_temp").write_text("")
    with pytest.raises(RunError, match="the checkpoint of step 2 could not be written"):
        save_steps(store, model, [2])
    assert steps_in(tmp_path) == [1]
    assert store.latest == str(tmp_path / "step-1")


def test_a_damaged_checkpoint_is_named(model, tmp_path):
    store = CheckpointStore(str(tmp_path), model)
    save_steps(store, model, [3])
    (tmp_path / "step-3.index").write_bytes(b"damaged")
    with pytest.raises(RunError, match=r"step-3 cannot be restored: .*; delete its files and its"):
        CheckpointStore(str(tmp_path), model).restore()


def test_a_checkpoint_of_another_model_is_refused(model, tmp_path):
    save_steps(CheckpointStore(str(tmp_path), model), model, [3])
    other = make_model(projector_dim=8)
    other.optimizer.build(other.trainable_variables)
    with pytest.raises(RunError, match="step-3 cannot be restored"):
        CheckpointStore(str(tmp_path), other).restore()


def test_a_checkpoint_without_the_optimizer_is_refused(model, tmp_path):
    save_weights(parts_of(model), str(tmp_path))
    with pytest.raises(RunError, match="imported-0 cannot be restored"):
        CheckpointStore(str(tmp_path), model).restore()
