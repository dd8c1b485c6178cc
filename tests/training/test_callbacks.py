import json
import os
import signal

import pytest
import tensorflow as tf

from pixpro_tf.errors import RunError
from pixpro_tf.storage.run_folder import RunFolder
from pixpro_tf.training import callbacks, logs

pytestmark = pytest.mark.usefixtures("default_signals")

HEALTHY = {
    "loss": -1.0,
    "consistency": 0.25,
    "feature_spread": 0.9,
    "cross_image_cosine": 0.1,
    "position_share": 0.05,
    "data_wait": 0.01,
}


@pytest.fixture
def printed():
    return []


@pytest.fixture
def log(tmp_path, printed):
    def make(start_step=0, every=2):
        made = callbacks.TrainingLog(
            start_step,
            RunFolder(str(tmp_path)),
            every=every,
            last_step=10,
            steps_per_epoch=5,
            epochs=2,
            batch_size=8,
            rate=lambda step: 0.1 * step,
            generations=lambda step: 0.5 * step,
            print_line=printed.append,
        )
        made.on_train_begin()
        return made

    return make


def lines(tmp_path):
    return [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]


def test_line_is_the_mean_since_the_previous_line(log, tmp_path):
    made = log()
    for batch, loss in enumerate([-1.0, -2.0, -4.0, -1.0]):
        made.on_train_batch_end(batch, HEALTHY | {"loss": loss})
    assert [(line["step"], line["loss"]) for line in lines(tmp_path)] == [
        (1, -1.0),
        (2, -2.0),
        (4, -2.5),
    ]


def test_speed_wait_and_generations_are_those_of_the_interval(log, tmp_path, monkeypatch, printed):
    now = 100.0
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: now)
    made = log(every=2)
    # The first step, which is mostly compilation, is a line of its own; each other step takes a quarter of a second.
    for batch, seconds in enumerate([9.0, 0.25, 0.25, 0.25]):
        now += seconds
        made.on_train_batch_end(batch, HEALTHY | {"data_wait": 0.05})
    first, second, third = lines(tmp_path)
    assert "images_per_second" not in first and "data_wait_share" not in first
    for line in (second, third):
        assert line["images_per_second"] == pytest.approx(8 / 0.25)
        assert line["data_wait_share"] == pytest.approx(0.05 / 0.25)
    assert [line["target_generations"] for line in lines(tmp_path)] == [0.5, 1.0, 2.0]
    assert [line["learning_rate"] for line in lines(tmp_path)] == pytest.approx([0.0, 0.1, 0.3])
    # Six steps are left.
    assert "32.0 images/s  2s left" in printed[-1]


def test_progress_line_shows_the_progress_of_the_run(log, printed):
    made = log(start_step=5, every=1)
    for batch in range(2):
        made.on_train_batch_end(batch, HEALTHY)
    assert printed[0].startswith("epoch 2/2  step 6/10  loss -1.0000  consistency 0.2500")
    for part in ("epoch 2/2", "step 7/10", "images/s", "left", "loss -1.0000"):
        assert part in printed[1]


@pytest.mark.parametrize(
    ("unhealthy", "alarm"),
    [
        ({"cross_image_cosine": 0.85}, "features collapse"),
        ({"feature_spread": 0.3}, "features collapse"),
        ({"position_share": 0.6}, "position shortcut"),
    ],
)
def test_alarm_is_raised_once_and_cleared(log, printed, unhealthy, alarm):
    made = log(every=1)
    for batch, values in enumerate([{}, unhealthy, unhealthy, {}]):
        made.on_train_batch_end(batch, HEALTHY | values)
    alarms = [line for line in printed if line.startswith("alarm")]
    assert len(alarms) == 2
    assert alarms[0].startswith(f"alarm: {alarm}")
    assert alarms[1] == f"alarm cleared: {alarm}"


@pytest.mark.parametrize("loss", ["nan", "inf", "-inf"])
def test_non_finite_loss_ends_the_run(log, loss):
    with pytest.raises(RunError, match=f"the loss became {loss} by step 1; start a new run "):
        log().on_train_batch_end(0, HEALTHY | {"loss": float(loss)})


def test_lines_of_repeated_steps_are_removed(log, tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 2}\n{"step": 4}\n{"step": 6}\n{"step"')
    log(start_step=4)
    assert [line["step"] for line in lines(tmp_path)] == [2, 4]


@pytest.mark.parametrize(
    "damage", [b"\0" * 40 + b"\n", b'{"step": 3, "lo', b'{"loss": 1.0}\n', b"\xff\xfe\n", b"[3]\n"]
)
def test_damaged_lines_are_removed(log, tmp_path, damage):
    log(every=1).on_train_batch_end(0, HEALTHY)
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(damage + b"\n" + path.read_bytes() + damage)
    log(start_step=1, every=1).on_train_batch_end(0, HEALTHY)
    assert [line["step"] for line in lines(tmp_path)] == [1, 2]


def test_logs_that_cannot_be_written_do_not_stop_a_run(log, tmp_path, capsys):
    (tmp_path / "tensorboard").write_text("a file")
    made = log(every=1)
    for step in range(3):
        made.on_train_batch_end(step, HEALTHY)
    made.on_train_end()
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3]
    warnings = [line for line in capsys.readouterr().out.splitlines() if "warning" in line]
    assert len(warnings) == 1
    assert warnings[0].startswith(f"warning: {tmp_path}/tensorboard cannot be written: ")
    assert warnings[0].endswith("; the run continues")


def test_scalars_are_written_to_tensorboard_under_their_names(log, tmp_path):
    made = log()
    made.on_train_batch_end(0, HEALTHY)
    made.on_train_end()
    # TensorBoard shows a run by the name of the folder of its events.
    (path,) = (tmp_path / "tensorboard" / tmp_path.name).iterdir()
    said = {
        value.tag: value.metadata.summary_description
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
        for value in tf.compat.v1.Event.FromString(record).summary.value
    }
    assert {"loss/total", "alarm/position_share", "optimizer/learning_rate"} <= set(said)
    assert "Alarm above 0.5" in said["alarm/position_share"] and all(said.values())


def test_non_finite_values_are_null_in_the_metrics(log, tmp_path):
    log().on_train_batch_end(0, HEALTHY | {"gradient_norm": float("inf")})
    assert lines(tmp_path)[0]["gradient_norm"] is None


def test_metrics_are_kept_until_they_can_be_written(log, tmp_path, capsys):
    (tmp_path / "metrics.jsonl").mkdir()
    made = log(every=1)
    made.on_train_batch_end(0, HEALTHY)
    made.on_train_batch_end(1, HEALTHY)
    (tmp_path / "metrics.jsonl").rmdir()
    (tmp_path / "metrics.jsonl").write_text('{"step": 9}\n')
    made.on_train_batch_end(2, HEALTHY)
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3]
    assert capsys.readouterr().out.count("warning") == 1


def test_lines_that_were_written_in_part_are_written_again(log, tmp_path, monkeypatch):
    made = log(every=1)
    made.on_train_batch_end(0, HEALTHY)
    write = tf.io.gfile.GFile.write

    def full(self, text):
        write(self, text[:20])
        self.close()
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(tf.io.gfile.GFile, "write", full)
        made.on_train_batch_end(1, HEALTHY)
    made.on_train_batch_end(2, HEALTHY)
    made.on_train_batch_end(3, HEALTHY)
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3, 4]


def test_summaries_whose_flush_fails_do_not_end_the_run(tmp_path, monkeypatch, capsys):
    def failed(*arguments, **options):
        raise tf.errors.UnavailableError(None, None, "stale file handle")

    with logs.summaries(RunFolder(str(tmp_path)), 1):
        tf.summary.scalar("a", 1.0)
        monkeypatch.setattr(tf.summary, "flush", failed)
        writer = type(tf.summary.create_noop_writer()).__mro__[1]
        for kind in {writer, *writer.__subclasses__()}:
            monkeypatch.setattr(kind, "flush", failed)
    assert "cannot be written: stale file handle; the run continues" in capsys.readouterr().out


class Store:
    """Store that counts calls of `save`; `written` is the number of those that have been waited for."""

    def __init__(self, kept=()):
        self.saves = self.written = 0
        self._kept = kept

    def save(self):
        self.saves += 1

    def check(self):
        pass

    def wait(self):
        self.written = self.saves

    def keeps(self, step):
        return step in self._kept


class Model:
    stop_training = False


@pytest.fixture
def saver():
    made = callbacks.Checkpoints(0, Store(), every=4, last_step=10)
    made.set_model(Model())
    return made


def test_checkpoints_are_saved_regularly_and_at_the_end(saver):
    saves = []
    for batch in range(10):
        saver.on_train_batch_end(batch)
        saves.append(saver._store.saves)
    assert saves == [0, 0, 0, 1, 1, 1, 1, 2, 2, 3]
    # Training ends when the last one is complete.
    assert saver._store.written == 3


def test_checkpoints_that_are_due_too_soon_are_skipped_unless_permanent(monkeypatch):
    now = 0.0
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: now)
    saver = callbacks.Checkpoints(0, Store(kept=(4,)), every=2, last_step=20, seconds_between=5.0)
    saver.set_model(Model())
    saved = []
    for batch in range(20):
        now += 1.0
        before = saver._store.saves
        saver.on_train_batch_end(batch)
        if saver._store.saves > before:
            saved.append(batch + 1)
    # Step 4 is kept permanently; steps 10 and 16 are the first ones due after at least 5 seconds; step 20 is the last one.
    assert saved == [4, 10, 16, 20]


def test_other_workers_wait_until_the_last_checkpoint_is_complete():
    """Slurm, for example, may end a job as soon as one of its processes has ended."""
    store, told = Store(), []

    def agree(is_told):
        told.append((store.written, store.saves))
        return False

    saver = callbacks.Checkpoints(0, store, every=100, last_step=7, agree=agree, agree_every=5)
    saver.set_model(Model())
    for batch in range(7):
        saver.on_train_batch_end(batch)
    assert told == [(0, 0), (1, 1)]


class Profiler:
    """Stands for TensorFlow's, which one process can only start once."""

    def __init__(self, error=None):
        self.calls, self._error = [], error

    def start(self, folder):
        self.calls.append("start")
        if self._error:
            raise self._error

    def stop(self):
        self.calls.append("stop")


@pytest.mark.parametrize(("start_step", "calls"), [(0, {3: "start", 5: "stop"}), (3, {}), (5, {})])
def test_the_profile_is_of_the_steps_that_were_asked_for(
    tmp_path, monkeypatch, capsys, start_step, calls
):
    profiler = Profiler()
    monkeypatch.setattr(tf.profiler, "experimental", profiler)
    profile = callbacks.Profile(start_step, RunFolder(str(tmp_path)), first=3, last=5)
    profile.on_train_begin()
    found = {}
    for step in range(start_step + 1, 8):
        before = len(profiler.calls)
        profile.on_train_batch_begin(step - start_step - 1)
        profile.on_train_batch_end(step - start_step - 1)
        if profiler.calls[before:]:
            (found[step],) = profiler.calls[before:]
    profile.on_train_end()
    assert found == calls and len(profiler.calls) == len(calls)
    resumed = "No profile is recorded: the run resumes after step 3" in capsys.readouterr().out
    assert resumed == (start_step == 3)


def test_a_profile_that_cannot_be_written_does_not_stop_the_run(tmp_path, monkeypatch, capsys):
    profiler = Profiler(tf.errors.FailedPreconditionError(None, None, "plugins is not a directory"))
    monkeypatch.setattr(tf.profiler, "experimental", profiler)
    profile = callbacks.Profile(0, RunFolder(str(tmp_path)), first=1, last=2)
    for batch in range(3):
        profile.on_train_batch_begin(batch)
        profile.on_train_batch_end(batch)
    profile.on_train_end()
    assert profiler.calls == ["start"]
    assert "plugins is not a directory; the run continues" in capsys.readouterr().out


@pytest.mark.parametrize(("seconds_between", "drawn"), [(0.0, [0, 2, 4, 6]), (3.0, [0, 4, 7])])
def test_figures_that_are_due_too_soon_are_skipped(monkeypatch, tmp_path, seconds_between, drawn):
    now = 0.0
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: now)
    asked = []
    monkeypatch.setattr(callbacks.Pictures, "_draw", lambda self, step: asked.append(step))
    pictures = callbacks.Pictures(
        0,
        RunFolder(str(tmp_path)),
        every=2,
        last_step=7,
        seconds_between=seconds_between,
        views=None,
        map_size=2,
        threshold=0.7,
    )
    pictures.on_train_begin()
    for batch in range(7):
        now += 1.0
        pictures.on_train_batch_end(batch)
    assert asked == drawn


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_saves_and_stops_after_the_step(saver, number):
    with saver.catching_signals():
        saver.on_train_batch_end(0)
        os.kill(os.getpid(), number)
        assert not saver.model.stop_training
        saver.on_train_batch_end(1)
    assert saver.model.stop_training and saver.left_on == number
    assert saver._store.saves == saver._store.written == 1


@pytest.mark.usefixtures("default_signals")
def test_second_signal_has_its_usual_effect(saver):
    with pytest.raises(KeyboardInterrupt), saver.catching_signals():
        saver.on_train_batch_end(0)
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


def test_signal_handlers_are_restored_even_after_a_failure(saver):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with pytest.raises(RunError), saver.catching_signals():
        assert signal.getsignal(signal.SIGTERM) != before[0]
        raise RunError("no more")
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
