"""Training steps of the evaluations continue after an interruption as if there had been none."""

import errno
import json
import os
import shutil
import signal

import numpy as np
import pytest
import tensorflow as tf

from pixpro_tf.cli import interruptions
from pixpro_tf.cli.commands import exit_code_of
from pixpro_tf.errors import ConfigError, RunError
from pixpro_tf.evaluation import detection, training_steps
from pixpro_tf.evaluation import unfinished as unfinished_module
from pixpro_tf.evaluation.unfinished import check_images, unfinished
from pixpro_tf.storage import checkpoint_files
from tests.support.labelled import write_coco, write_images

STEPS = 6


class Trained:
    """Linear layer that is trained on batches of random numbers, and fails at one of the steps.

    Args:
        interrupted_at: number of the step that is interrupted, from 1.
    """

    def __init__(self, interrupted_at=0):
        tf.keras.utils.set_random_seed(0)
        self.layer = tf.keras.layers.Dense(1)
        self.layer.build([None, 3])
        self.optimizer = tf.keras.optimizers.Adam(
            tf.keras.optimizers.schedules.CosineDecay(0.1, STEPS)
        )
        self.optimizer.build(self.layer.trainable_variables)
        self.interrupted_at, self.done = interrupted_at, 0

    def step(self, inputs, targets):
        self.done += 1
        if self.done == self.interrupted_at:
            raise KeyboardInterrupt
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((self.layer(inputs) - targets) ** 2)
        variables = self.layer.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    def run(self, folder, steps=STEPS, print_line=print):
        values = np.random.default_rng(0).normal(size=[20, 3]).astype(np.float32)
        pairs = tf.data.Dataset.from_tensor_slices((values, values[:, :1]))
        batches = pairs.shuffle(20, seed=0).repeat().batch(4)
        trained = {"layer": self.layer, "optimizer": self.optimizer}
        training_steps.run(self.step, batches, steps, trained, folder, print_line)
        return self.layer.get_weights()


def test_interrupted_steps_continue_to_the_bit(tmp_path):
    whole = Trained().run("")
    folder = str(tmp_path / "kept")
    with pytest.raises(KeyboardInterrupt):
        Trained(interrupted_at=4).run(folder)
    lines = []
    continued = Trained()
    for expected, found in zip(whole, continued.run(folder, print_line=lines.append), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert lines == ["Continuing after step 3 of 6"] and continued.done == 3


def test_finished_steps_are_not_repeated(tmp_path):
    folder = str(tmp_path)
    whole = Trained().run(folder)
    repeated = Trained()
    for expected, found in zip(whole, repeated.run(folder), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert repeated.done == 0


def test_batches_of_finished_steps_are_not_read_again(tmp_path):
    def nothing():
        raise AssertionError("is read")
        yield

    folder = str(tmp_path)
    Trained().run(folder)
    trained = Trained()
    parts = {"layer": trained.layer, "optimizer": trained.optimizer}
    training_steps.run(trained.step, nothing(), STEPS, parts, folder)


def test_checkpoints_are_written_as_time_passes(tmp_path, monkeypatch):
    monkeypatch.setattr(training_steps, "_SECONDS_BETWEEN_CHECKPOINTS", -1)
    trained = Trained(interrupted_at=5)
    # The process is killed: nothing is saved at the end.
    monkeypatch.setattr(trained, "step", killed_at(trained.step, 5))
    with pytest.raises(SystemExit):
        trained.run(str(tmp_path))
    assert checkpoint_files.checkpoints_in(str(tmp_path)) == [f"{tmp_path}/step-4"]


@pytest.mark.parametrize("damage", ["cut", "emptied", "no data", "no index"])
def test_steps_of_a_damaged_checkpoint_are_repeated(tmp_path, damage):
    whole = Trained().run("")
    with pytest.raises(KeyboardInterrupt):
        Trained(interrupted_at=4).run(str(tmp_path))
    index, data = tmp_path / "step-3.index", tmp_path / "step-3.data-00000-of-00001"
    if damage == "cut":
        data.write_bytes(data.read_bytes()[:50])
    elif damage == "emptied":
        index.write_bytes(b"")
    else:
        (data if damage == "no data" else index).unlink()
    lines = []
    for expected, found in zip(
        whole, Trained().run(str(tmp_path), print_line=lines.append), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    if damage == "no index":
        assert lines == []
    else:
        (line,) = lines
        assert line.startswith(f"{tmp_path}/step-3 is damaged (")
        assert line.endswith("so its steps are repeated")


def test_a_damaged_checkpoint_of_a_later_step_does_not_replace_new_ones(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        Trained(interrupted_at=4).run(str(tmp_path))
    for file in tmp_path.glob("step-3.*"):
        (tmp_path / file.name.replace("step-3", "step-5")).write_bytes(file.read_bytes()[:50])
        file.unlink()
    with pytest.raises(KeyboardInterrupt):
        Trained(interrupted_at=3).run(str(tmp_path))
    assert {file.name for file in tmp_path.glob("*.index")} == {"step-2.index"}


def killed_at(step, number):
    calls = []

    def killed(*batch):
        calls.append(batch)
        if len(calls) == number:
            raise SystemExit
        return step(*batch)

    return killed


def test_a_checkpoint_that_cannot_be_written_is_an_error(tmp_path):
    folder = tmp_path / "kept"
    trained = Trained()
    step = trained.step

    def broken(*batch):
        # Something takes the place of the folder.
        shutil.rmtree(folder, ignore_errors=True)
        folder.write_text("")
        return step(*batch)

    trained.step = broken
    with pytest.raises(RunError, match=r"kept cannot be written: .*; make it writable, then run"):
        trained.run(str(folder))


def test_a_full_disk_is_reported_with_what_to_do(tmp_path, monkeypatch):
    def full(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint_files, "sync", full)
    with pytest.raises(RunError, match="No space left on device; free some space, then run"):
        Trained().run(str(tmp_path))


def test_a_loss_that_is_not_finite_is_an_error():
    trained = Trained()
    trained.layer.set_weights([np.full([3, 1], np.nan), np.zeros(1)])
    with pytest.raises(RunError, match="the loss is nan after step 6 of 6; use a lower --rate"):
        trained.run("")


def test_training_that_diverges_is_stopped_and_leaves_a_checkpoint_from_before(
    tmp_path, monkeypatch
):
    with pytest.raises(KeyboardInterrupt):
        Trained(interrupted_at=4).run(str(tmp_path))
    monkeypatch.setattr(training_steps, "_STEPS_BETWEEN_CHECKS", 1)
    trained = Trained()
    step = trained.step
    trained.step = lambda *batch: np.nan * step(*batch)
    with pytest.raises(training_steps.DivergedError, match="the loss is nan after step 4 of 6"):
        trained.run(str(tmp_path))
    assert checkpoint_files.checkpoints_in(str(tmp_path)) == [f"{tmp_path}/step-3"]


def flags_of(output, **changes):
    return detection.Settings(
        **{"source": "random:resnet10", "dataset": "scenes/128", "output": str(output)} | changes
    )


def test_the_folder_of_a_finished_evaluation_is_removed(tmp_path):
    with unfinished(flags_of(tmp_path / "made"), []) as folder:
        assert folder == str(tmp_path / "partial_made")
        (tmp_path / "partial_made" / "something").write_text("")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_nothing_done_is_removed(tmp_path):
    with pytest.raises(RunError), unfinished(flags_of(tmp_path / "made"), []):
        raise RunError("no data")
    assert list(tmp_path.iterdir()) == []


def test_failures_leave_no_folders_on_the_way_to_the_output(tmp_path):
    with pytest.raises(RunError), unfinished(flags_of(tmp_path / "a" / "b" / "made"), []):
        assert (tmp_path / "a" / "b" / "partial_made").is_dir()
        raise RunError("no data")
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_the_results_of_other_commands(tmp_path):
    with pytest.raises(RunError), unfinished(flags_of(tmp_path / "a" / "b" / "made"), []):
        (tmp_path / "a" / "other").mkdir()
        (tmp_path / "a" / "other" / "results.json").write_text("{}")
        raise RunError("no data")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["other"]
    assert (tmp_path / "a" / "other" / "results.json").exists()


def test_an_output_that_cannot_be_written_is_reported_before_any_work(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(RunError, match=r"--output=.*/file/made cannot be written: "),
        unfinished(flags_of(tmp_path / "file" / "made"), []),
    ):
        raise AssertionError


def leave(settings, inputs):
    with pytest.raises(KeyboardInterrupt), unfinished(settings, inputs) as folder:
        with open(f"{folder}/something", "w"):
            pass
        raise KeyboardInterrupt


def test_unfinished_work_is_not_mixed_with_other_flags_labels_or_runs(tmp_path):
    labels = tmp_path / "labels.json"
    labels.write_text("{}")
    run = tmp_path / "run" / "checkpoints"
    run.mkdir(parents=True)
    inputs = [str(labels), str(tmp_path / "run"), "keras:ResNet50", ""]
    settings = flags_of(tmp_path / "made")
    leave(settings, inputs)
    # Whether to overwrite the output does not change the evaluation.
    leave(flags_of(tmp_path / "made", overwrite=True), inputs)
    with pytest.raises(ConfigError, match="with other flags"):
        leave(flags_of(tmp_path / "made", seed=1), inputs)
    (run / "step-2.index").write_text("")
    with pytest.raises(
        ConfigError, match="or of backbones, labels or images that have changed since"
    ):
        leave(settings, inputs)


@pytest.mark.parametrize("kind", ["folder", "run", "checkpoint", "files", "zip", "colon"])
def test_changes_of_inputs_are_noticed_and_own_output_is_none(tmp_path, kind):
    inside = tmp_path / "in" / "lr:0.1" / "checkpoints"
    inside.mkdir(parents=True)
    (inside / "step-1.index").write_text("1")
    (inside / "step-1.data-00000-of-00001").write_text("1")
    images = tmp_path / "images" / "train" / "cats"
    images.mkdir(parents=True)
    (images / "a.png").write_text("1")
    (tmp_path / "images" / "a[1].zip").write_text("1")
    source, changed = {
        "folder": (f"folder:{tmp_path / 'images'}", images / "b.png"),
        "run": (str(tmp_path / "in" / "lr:0.1"), inside / "step-2.index"),
        "checkpoint": (str(inside / "step-1"), inside / "step-1.index"),
        "files": (f"tfrecord:{images}/*", images / "c.png"),
        "zip": (f"zip:{tmp_path}/images/a[1].zip", tmp_path / "images" / "a[1].zip"),
        "colon": (f"random:{tmp_path / 'in' / 'lr:0.1'}", inside / "step-2.index"),
    }[kind]
    # The output is inside of what is evaluated.
    settings = flags_of((inside.parent if "lr" in source else tmp_path / "images") / "made")
    leave(settings, [source])
    leave(settings, [source])
    changed.write_text("22")
    with pytest.raises(ConfigError, match="that have changed since"):
        leave(settings, [source])


def test_an_unfinished_folder_whose_description_could_not_be_written_is_not_left(
    tmp_path, monkeypatch
):
    def full(path, text):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(unfinished_module, "write_atomically", full)
    with pytest.raises(RunError, match="cannot be written: No space left on device"):
        leave(flags_of(tmp_path / "made"), [])
    assert not (tmp_path / "partial_made" / "evaluation.json").exists()
    monkeypatch.undo()
    leave(flags_of(tmp_path / "made"), [])


def test_an_unreadable_input_is_not_reported_as_the_output(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)
    message = f"^{tmp_path} cannot be read: Permission denied$"
    with (
        pytest.raises(RunError, match=message),
        unfinished(flags_of(tmp_path / "made"), [str(tmp_path)]),
    ):
        pass


def test_folders_of_others_and_of_running_commands_are_refused(tmp_path):
    (tmp_path / "partial_made").mkdir()
    (tmp_path / "partial_made" / "thesis.txt").write_text("")
    with pytest.raises(ConfigError, match="was not created by this command"):
        leave(flags_of(tmp_path / "made"), [])
    settings = flags_of(tmp_path / "other")
    in_use = pytest.raises(ConfigError, match="is in use by another command")
    with unfinished(settings, []), in_use:
        leave(settings, [])


@pytest.mark.slow
def test_an_interrupted_detector_continues_to_the_bit(tmp_path, monkeypatch, capsys):
    write_images(tmp_path / "images")
    labels = write_coco(tmp_path)
    flags = ["--from=random:resnet10w0.5", f"--labels={labels}", f"--evaluation_labels={labels}"]
    flags += ["--image_size=64", "--batch_size=2", "--epochs=4"]
    assert detection.main([*flags, f"--output={tmp_path / 'whole'}"]) == 0
    run = training_steps.run

    def interrupted(step, *arguments):
        calls = []

        def step_until(batch):
            calls.append(batch)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return step(batch)

        run(step_until, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(training_steps, "run", interrupted)
        assert exit_code_of(lambda: detection.main([*flags, f"--output={tmp_path / 'cut'}"])) == 130
    assert (tmp_path / "partial_cut").is_dir()
    assert detection.main([*flags, f"--output={tmp_path / 'cut'}"]) == 0
    assert "Continuing after step 2 of 4" in capsys.readouterr().out
    whole, cut = (
        json.loads((tmp_path / name / "results.json").read_text()) for name in ("whole", "cut")
    )
    assert cut["ap"] == whole["ap"] and cut["class_ap"] == whole["class_ap"]


def test_changed_images_of_labels_are_noticed(tmp_path):
    """Labels name images in other folders; they are known when the labels have been read."""
    image = tmp_path / "a.png"
    image.write_text("1")
    for _ in range(2):
        with (
            pytest.raises(KeyboardInterrupt),
            unfinished(flags_of(tmp_path / "made"), []) as folder,
        ):
            check_images(folder, [str(image)])
            (tmp_path / "partial_made" / "step").write_text("")
            raise KeyboardInterrupt
    image.write_text("22")
    with (
        pytest.raises(ConfigError, match="images that have changed since"),
        unfinished(flags_of(tmp_path / "made"), []) as folder,
    ):
        check_images(folder, [str(image)])
    check_images("", [str(image)])


@pytest.mark.usefixtures("default_signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interruption_within_a_step_does_not_repeat_it(tmp_path, number):
    whole = Trained().run("")
    folder = str(tmp_path / "kept")
    trained = Trained()
    update = trained.step

    def step(*batch):
        loss = update(*batch)
        if trained.done == 3:
            # After the weights have been updated, before the step has been counted.
            os.kill(os.getpid(), number)
        return loss

    trained.step = step
    with pytest.raises(KeyboardInterrupt), interruptions.raised():
        trained.run(folder)
    continued = Trained()
    for expected, found in zip(whole, continued.run(folder), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert trained.done == 3 and continued.done == 3


def test_what_a_full_disk_left_does_not_stop_the_next_command(tmp_path, monkeypatch):
    settings = flags_of(tmp_path / "made")

    def full(path, text):
        with open(f"{path}.writing", "w"):
            raise tf.errors.OutOfRangeError(None, None, f"{path}.writing; File too large")

    with monkeypatch.context() as patched:
        patched.setattr(unfinished_module, "write_atomically", full)
        with (
            pytest.raises(RunError, match=r"cannot be written: .*File too large"),
            unfinished(settings, []),
        ):
            pytest.fail("was not described")
    with unfinished(settings, []):
        pass
    assert os.listdir(tmp_path) == []


def test_links_to_folders_above_and_to_nothing_are_passed_over(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(b"a")
    for name in ("one", "two"):
        (photos / name).symlink_to(photos)
    (photos / ".#a.jpg").symlink_to("nobody@nowhere.1")
    with unfinished(flags_of(tmp_path / "made"), [f"folder:{photos}"]) as folder:
        assert os.path.isdir(folder)
