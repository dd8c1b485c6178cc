"""Runs of `train.py`: what they write, accept and reject, and the functions they consist of."""

import fcntl
import importlib
import json
import shlex
import shutil
import types

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pixpro_tf import build, pixpro
from pixpro_tf.backbones.architectures import ARCHITECTURES
from pixpro_tf.backbones.encoder import Encoder
from pixpro_tf.cli import command_line
from pixpro_tf.config import Config
from pixpro_tf.errors import ConfigError, RunError, UserError
from pixpro_tf.evaluation import compare, correspondence, visualize
from pixpro_tf.export.commands import savedmodel as savedmodel_command
from pixpro_tf.export.model_garden.checkpoint import RESNETS
from pixpro_tf.export.od_api.checkpoint import KERAS_RESNETS
from pixpro_tf.layers.layouts import LAYOUTS
from pixpro_tf.storage.run_folder import RunFolder
from pixpro_tf.training import inputs, results, run
from pixpro_tf.training.session import Steps
from tests.conftest import ROOT
from tests.support.labelled import write_coco, write_images
from tests.support.models import FOUR_CHANNELS
from tests.support.runs import error_line
from tests.support.tiny_run import metrics_of


def test_run_prints_the_paths_of_its_results(whole_run):
    run_dir, output = whole_run
    for part in ("checkpoints/step-60", "tensorboard", "pictures", "metrics.jsonl"):
        assert str(run_dir / part) in output
    assert "tensorboard.main --logdir" in output
    assert "epoch 6/6  step 60/60" in output
    assert (run_dir / "checkpoints" / "step-60.index").exists()
    assert (run_dir / "pictures" / "views-0000000.png").stat().st_size > 10_000
    assert list((run_dir / "tensorboard" / "whole").glob("events.out.tfevents.*"))


@pytest.mark.slow
def test_printed_next_commands_work(whole_run, tmp_path, monkeypatch):
    run_dir, output = whole_run
    text = output.partition("Next:\n")[2]
    board, show, compared, export = (shlex.split(line) for line in text.strip().splitlines())
    assert board[1:3] == ["-m", "tensorboard.main"] and board[-1] == str(run_dir / "tensorboard")
    monkeypatch.chdir(tmp_path)
    assert export[1:3] == ["-m", "export.savedmodel"]
    assert savedmodel_command.main(export[3:]) == 0
    assert (tmp_path / "exported" / "whole" / "saved_model.pb").exists()
    assert show[1:3] == ["-m", "pixpro_tf.visualize"]
    assert visualize.main(show[3:]) == 0
    assert (tmp_path / "pictures" / "whole").is_dir()
    assert compared[1:3] == ["-m", "pixpro_tf.evaluation.compare"]
    labels = write_coco(tmp_path)
    write_images(tmp_path / "images")
    mine = [flag.replace("/path/to/annotations.json", labels) for flag in compared[3:]]
    settings = command_line.parse(compare.Settings, mine)
    assert settings.sources == (str(run_dir), "random")


def test_the_export_that_is_named_takes_the_backbone():
    taken = {"od_api": set(KERAS_RESNETS), "model_garden": set(RESNETS)}
    for layout in LAYOUTS:
        for backbone in ARCHITECTURES:
            config = Config(backbone=backbone, backbone_layout=layout)
            named, flags = results.export_of(config)
            assert named == (layout if backbone in taken.get(layout, ()) else "savedmodel")
            command = importlib.import_module(f"pixpro_tf.export.commands.{named}").main
            given = ["--from=a", "--output=b", *shlex.split(flags)]
            assert command_line.parse(command.settings, given).source == "a"
    dilated = Config(backbone_layout="model_garden", output_stride=16)
    assert results.export_of(dilated) == ("savedmodel", "")


def test_next_commands_read_the_images_that_the_run_read(tmp_path):
    flags = {
        "dataset": f"folder:{tmp_path}/some images",
        "on_bad_image": "skip",
        "max_megapixels": 150,
        "max_image_megabytes": 512,
    }
    folder = RunFolder(str(tmp_path / "run"))
    for channels in ({}, FOUR_CHANNELS):
        text = results.next_commands(folder, Config(**(channels | flags)))
        _, show, compared, _ = (shlex.split(line) for line in text.splitlines())
        settings = command_line.parse(visualize.Settings, show[3:])
        assert (settings.images, settings.on_bad_image) == (flags["dataset"], "skip")
        assert (settings.max_megapixels, settings.max_image_megabytes) == (150, 512)
        if channels:
            settings = command_line.parse(correspondence.Settings, compared[3:])
            assert (settings.dataset, settings.on_bad_image) == (flags["dataset"], "skip")
    text = results.next_commands(folder, Config(data_dir="some data", split="train[:9]"))
    settings = command_line.parse(
        visualize.Settings, shlex.split(text.splitlines()[1].split("visualize ")[1])
    )
    assert (settings.data_dir, settings.split) == ("some data", "train[:9]")


def test_next_commands_do_not_name_what_exists(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("exported/run", "exported/run-2", "pictures/run"):
        (tmp_path / name).mkdir(parents=True)
    text = results.next_commands(RunFolder("runs/run"), Config())
    assert "--output=pictures/run-2\n" in text and text.endswith("--output=exported/run-3")


def test_exports_are_found_outside_a_checkout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = results.next_commands(RunFolder("run"), Config())
    command = shlex.split(text.splitlines()[-1])
    assert command[1:4] == ["-m", "pixpro_tf.export", "savedmodel"]
    assert importlib.import_module(f"{command[2]}.__main__")


def test_metrics_are_complete_and_in_range(whole_run):
    lines = metrics_of(whole_run[0])
    assert [line["step"] for line in lines] == [1, *range(5, 61, 5)]
    for line in lines:
        assert -4 <= line["loss"] <= 4
        assert -1 <= line["consistency"] <= 1
        assert 0 <= line["no_overlap"] <= 1
        assert 0 <= line["positive_pairs"] <= 16
        assert 0 <= line["feature_spread"] <= 1 + 1e-6
        assert line["gradient_norm"] > 0
    assert 0 <= lines[-1]["data_wait_share"] <= 1
    assert lines[-1]["images_per_second"] > 0
    assert lines[-1]["ema_momentum"] > lines[0]["ema_momentum"] == pytest.approx(0.99, abs=1e-6)


def test_logged_learning_rate_follows_the_schedule(whole_run):
    # The paper's warm-up, i <= w: lr/100 * (99 i/w + 1) with w = 10 steps and lr = 8/256; step i is the (i+1)-th.
    lines = {line["step"]: line["learning_rate"] for line in metrics_of(whole_run[0])}
    peak = 8 / 256
    assert lines[1] == pytest.approx(peak / 100, rel=1e-5)
    assert lines[5] == pytest.approx(peak / 100 * (99 * 4 / 10 + 1), rel=1e-5)
    cosine = 1e-6 + (peak - 1e-6) * (1 + np.cos(np.pi * (59 - 10) / 50)) / 2
    assert lines[60] == pytest.approx(cosine, rel=1e-4)


def test_last_three_checkpoints_and_every_fourth_are_kept(whole_run):
    folder = whole_run[0] / "checkpoints"
    assert sorted(path.stem for path in folder.glob("*.index")) == ["step-49", "step-56", "step-60"]
    assert sorted(path.stem for path in (folder / "kept").glob("*.index")) == ["step-28", "step-56"]


def test_config_json_contains_flags_and_versions(whole_run):
    config = json.loads((whole_run[0] / "config.json").read_text())
    assert config["flags"]["backbone"] == "resnet10w0.5"
    assert config["versions"]["tensorflow"] == tf.__version__


@pytest.mark.slow
def test_finished_run_is_not_changed(whole_run, train, tiny_flags):
    run_dir, _ = whole_run
    process = train(*tiny_flags, f"--run_dir={run_dir}", "--checkpoint_every=7", "--keep_every=4")
    assert "Nothing to do" in process.stdout


@pytest.mark.slow
def test_damaged_run_resumes_from_newest_readable_checkpoint(
    whole_run, train, tiny_flags, tmp_path
):
    run_dir = tmp_path / "run"
    shutil.copytree(whole_run[0], run_dir)
    (run_dir / "checkpoints" / "checkpoint").write_text("")
    newest = run_dir / "checkpoints" / "step-60.data-00000-of-00001"
    newest.write_bytes(newest.read_bytes()[:1000])
    printed = train(*tiny_flags, f"--run_dir={run_dir}", "--checkpoint_every=7", "--keep_every=4")
    assert "step-60 is damaged (" in printed.stdout
    assert f"resuming from the newest readable checkpoint, {run_dir}/checkpoints/step-56" in (
        printed.stdout
    )
    assert "Done: 60 steps" in printed.stdout
    steps = [line["step"] for line in metrics_of(run_dir)]
    assert steps == sorted({1, 57, *range(5, 61, 5)})


def test_run_without_readable_checkpoint_does_not_start_again(
    whole_run, train, tiny_flags, tmp_path
):
    run_dir = tmp_path / "run"
    shutil.copytree(whole_run[0], run_dir)
    for path in (run_dir / "checkpoints").rglob("*.index"):
        path.unlink()
    before = {name: (run_dir / name).read_bytes() for name in ("config.json", "metrics.jsonl")}
    process = train(*tiny_flags, f"--run_dir={run_dir}", "--checkpoint_every=7", check=False)
    assert process.returncode == 1
    assert "belongs to a checkpoint whose index is missing" in error_line(process)
    assert {name: (run_dir / name).read_bytes() for name in before} == before


def test_rejected_start_keeps_files_of_an_earlier_one(train, tiny_flags, tmp_path):
    (tmp_path / "config.json").write_text("mine")
    flags = [f"--run_dir={tmp_path}", f"--init_from={tmp_path / 'nowhere'}"]
    assert train(*tiny_flags, *flags, check=False).returncode == 1
    assert (tmp_path / "config.json").read_text() == "mine"


def test_run_with_different_flags_is_rejected_with_their_names(whole_run, train, tiny_flags):
    run_dir, _ = whole_run
    process = train(
        *tiny_flags, f"--run_dir={run_dir}", "--gamma=4", "--weight_decay=1e-4", check=False
    )
    assert process.returncode == 2
    line = error_line(process)
    assert "--gamma=4.0 (the run has 2.0)" in line
    assert "--weight_decay=0.0001 (the run has 1e-05)" in line


def test_noresume_rejects_a_folder_that_contains_a_run(whole_run, train, tiny_flags):
    process = train(*tiny_flags, f"--run_dir={whole_run[0]}", "--noresume", check=False)
    assert process.returncode == 2
    assert "already contains a run" in process.stderr


def test_folder_in_use_by_another_run_is_rejected(whole_run, train, tiny_flags):
    run_dir, _ = whole_run
    before = (run_dir / "config.json").read_text()
    with open(run_dir / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        process = train(*tiny_flags, f"--run_dir={run_dir}", check=False)
    assert process.returncode == 2
    assert "is in use by another run" in error_line(process)
    assert (run_dir / "config.json").read_text() == before


def test_rejected_flags_leave_no_run_folder(train, tiny_flags, tmp_path):
    train(*tiny_flags, f"--run_dir={tmp_path / 'run'}", "--batch_size=64", check=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.thorough
def test_step_compiled_as_a_whole_computes_the_same_loss(whole_run, train, tiny_flags, tmp_path):
    train(*tiny_flags, f"--run_dir={tmp_path}", "--max_steps=5", "--jit=step")
    compiled, plain = metrics_of(tmp_path), metrics_of(whole_run[0])
    # The first step agrees up to rounding, which BN and ReLU amplify in the following steps.
    assert compiled[0]["loss"] == pytest.approx(plain[0]["loss"], abs=1e-5)
    assert compiled[1]["loss"] == pytest.approx(plain[1]["loss"], abs=1e-2)


@pytest.mark.slow
def test_photometric_augmentation_on_the_device_gives_the_same_loss(photos):
    losses = {}
    for place in ("host", "device"):
        config = Config(
            dataset=f"folder:{photos}",
            augment_on=place,
            backbone="resnet10w0.5",
            image_size=32,
            output_stride=16,
            projector_hidden=64,
            projector_dim=32,
            batch_size=8,
        )
        tf.keras.utils.set_random_seed(0)
        source, _ = inputs.open_source(config, RunFolder("nowhere"))
        batch = next(
            iter(inputs.distributed_dataset(config, source, tf.distribute.get_strategy(), 0))
        )
        assert batch["view_1"].dtype == (tf.float32 if place == "host" else tf.uint8)
        model = build.build_compiled_model(config, 0.1, total_steps=10)
        losses[place] = float(tf.function(model.train_step)(batch)["loss"])
    assert losses["device"] == pytest.approx(losses["host"], abs=1e-5)


def test_views_have_the_crop_area_of_the_flags(photos):
    config = Config(
        dataset=f"folder:{photos}",
        augment_on="device",
        min_crop_area=0.1,
        max_crop_area=0.2,
        image_size=64,
        batch_size=16,
    )
    source, _ = inputs.open_source(config, RunFolder("nowhere"))
    dataset = inputs.distributed_dataset(config, source, tf.distribute.get_strategy(), 0)
    batch = next(iter(dataset))
    left, top, right, bottom = np.concatenate([batch["box_1"], batch["box_2"]]).T
    # Photos have 80 x 60 pixels; a box spans pixel centres, and the left and right sides of a flipped box are swapped.
    area = (abs(right - left) * 79 + 1) * (abs(bottom - top) * 59 + 1) / (80 * 60)
    # Rounding adds half a pixel to sides of at least 27 and 36 pixels, or subtracts it from sides of at least 19 and 25.
    assert area.min() > 0.095 and 0.15 < area.max() < 0.207


def test_images_that_other_processes_cannot_read_are_rejected_with_advice(tmp_path, monkeypatch):
    dataset = f"folder:{tmp_path}"
    Image.new("RGB", (8, 8)).save(tmp_path / "a.webp")
    np.save(tmp_path / "a.npy", np.zeros([8, 8, 4], np.uint16))
    config = Config(dataset=dataset, data_service="grpc://host:5050")
    said = "grpc://host:5050 supports JPEG, PNG and BMP images only; convert the others with"
    with pytest.raises(ConfigError, match=said):
        inputs.open_source(config, RunFolder("nowhere"))
    config = Config(**(FOUR_CHANNELS | {"dataset": dataset, "augmentation": "byol"}))
    monkeypatch.setattr(Config, "has_remote_tpu", True)
    with pytest.raises(ConfigError, match="tpu= supports 8-bit RGB images only; use --tpu=local"):
        inputs.open_source(config, RunFolder("nowhere"))


class Stopped(Exception):
    """Raised by a test to end a run early."""


def test_target_schedule_spans_the_whole_run_beyond_max_steps(monkeypatch, tmp_path):
    def build_model(config, total_steps, **_):
        raise Stopped(total_steps)

    monkeypatch.setattr(build, "build_model", build_model)
    config = Config(batch_size=8, epochs=6, warmup_epochs=1, max_steps=5)
    source = types.SimpleNamespace(num_images=80)
    folder, strategy = RunFolder(str(tmp_path)), tf.distribute.get_strategy()
    with pytest.raises(Stopped) as stopped:
        run._open_session(config, build.build_objectives, strategy, folder, source)
    # A run of 6 epochs has 6 * 80 / 8 steps.
    assert stopped.value.args == (60,)


def test_unexplained_failure_ends_with_one_line_that_names_the_step(photos):
    config = Config(dataset=f"folder:{photos}", augment_on="device", image_size=64, batch_size=8)
    source, _ = inputs.open_source(config, RunFolder("nowhere"))

    def fit(*_, **__):
        message = (
            "Graph execution error:\n\nDetected at node ...\nthe device is lost\n\t [[{{node x}}]]"
        )
        raise tf.errors.InternalError(None, None, message)

    session = types.SimpleNamespace(
        config=config,
        source=source,
        strategy=tf.distribute.get_strategy(),
        steps=Steps.of(config, source.num_images),
        model=types.SimpleNamespace(fit=fit, finished_steps=4),
        start_step=0,
        store=None,
    )
    with pytest.raises(RuntimeError, match=r"^step 5 failed: the device is lost$") as raised:
        run._fit(session, [])
    # Python prints its traceback, because the user cannot fix it.
    assert not isinstance(raised.value, UserError)
    assert isinstance(raised.value.__cause__, tf.errors.InternalError)


def test_run_that_loses_its_data_service_fails(monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(run.os, "_exit", calls.append)

    class Store:
        def wait(self, seconds):
            calls.append("waited")
            raise RunError("the checkpoint of step 3 could not be written")

    run._leave_at_once(Store(), RunError("grpc://host:1 does not answer", of="data_service"))
    # A checkpoint that is being written is finished first, if that is possible.
    assert calls == ["waited", 1]
    assert capsys.readouterr().err == "error: --data_service=grpc://host:1 does not answer\n"


@pytest.mark.parametrize(
    ("flag", "dynamic", "scale"), [("dynamic", True, 2**15), ("1024", False, 1024)]
)
def test_only_a_dynamic_loss_scale_changes(flag, dynamic, scale):
    optimizer = build.build_optimizer(Config(precision="float16", loss_scale=flag), 0.1)
    # Keras starts a dynamic loss scale at 2**15.
    assert optimizer.dynamic == dynamic and float(optimizer.loss_scale) == scale


class Backbone(tf.keras.layers.Layer):
    """Backbone of one convolution."""

    def __init__(self):
        super().__init__()
        self.convolution = tf.keras.layers.Conv2D(8, 3, strides=2)

    def call(self, images, training=None):
        return {"c5": self.convolution(images)}


def test_gradient_norm_does_not_depend_on_the_loss_scale():
    tf.keras.mixed_precision.set_global_policy("mixed_float16")
    (objective,) = build.build_objectives(Config(projector_hidden=16, projector_dim=8, jit="off"))
    rng = np.random.default_rng(0)
    views = [tf.constant(rng.normal(size=(2, 9, 9, 3)), tf.float16) for _ in range(2)]
    encoders = [Encoder(Backbone(), {objective.name: objective.make_projector()}) for _ in range(2)]
    for encoder in encoders:
        encoder(views[0])
    model = pixpro.PixPro(*encoders, [objective], lambda step: 0.0)
    model(views[0])
    box = tf.constant([[0.0, 0.0, 0.8, 0.9], [0.1, 0.3, 0.7, 1.0]])
    batch = {"view_1": views[0], "view_2": views[1], "box_1": box, "box_2": box}
    norms = []
    for loss_scale in ("16", "1024"):
        config = Config(precision="float16", loss_scale=loss_scale)
        # The second step repeats the first, because the learning rate is 0.
        model.compile(optimizer=build.build_optimizer(config, 0.0), jit_compile=False)
        norms.append(float(model.train_step(batch)["gradient_norm"]))
    # Scaling by a power of two is exact, except for the smallest numbers of float16.
    assert norms[0] == pytest.approx(norms[1], rel=0.01) and norms[0] > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "precision", ["float16", pytest.param("bfloat16", marks=pytest.mark.thorough)]
)
def test_half_precision_trains(whole_run, train, tiny_flags, tmp_path, precision):
    train(*tiny_flags, f"--run_dir={tmp_path}", "--max_steps=10", f"--precision={precision}")
    half, full = metrics_of(tmp_path), metrics_of(whole_run[0])
    assert half[0]["loss"] == pytest.approx(full[0]["loss"], abs=0.05)
    assert half[-1]["loss"] < half[0]["loss"]
    reader = tf.train.load_checkpoint(str(tmp_path / "checkpoints" / "step-10"))
    types = reader.get_variable_to_dtype_map()
    networks = [name for name in types if name.split("/")[0] in ("online", "target")]
    assert networks and all(types[name] == tf.float32 for name in networks)


@pytest.fixture(scope="module")
def other_run(whole_run, train, tiny_flags, tmp_path_factory):
    """Run of five steps from the weights of `whole_run`, with flags that `whole_run` does not set."""
    run_dir = tmp_path_factory.mktemp("other")
    process = train(
        *tiny_flags,
        f"--run_dir={run_dir}",
        f"--init_from={whole_run[0]}",
        "--steps_per_epoch=2",
        "--max_steps=5",
        "--log_every=1",
        "--schedule=step",
        "--lr_drops=2",
        "--instance_weight=1",
        "--profile_steps=1,4",
    )
    return run_dir, process.stdout


@pytest.mark.slow
def test_step_schedule_and_instance_branch_run(other_run):
    lines = {line["step"]: line for line in metrics_of(other_run[0])}
    # Steps are numbered from 0, lines from 1: the fifth step is the first of the third epoch.
    assert lines[5]["learning_rate"] == pytest.approx(0.1 * lines[4]["learning_rate"], rel=1e-5)
    for line in lines.values():
        assert line["loss"] == pytest.approx(line["pixel_loss"] + line["instance_loss"], abs=1e-5)


@pytest.mark.slow
def test_run_initialises_from_the_weights_of_another_run(whole_run, other_run):
    run_dir, printed = other_run
    assert "Initialised from" in printed and "backbone, pixel projector, pixel predictor" in printed
    first, fresh = metrics_of(run_dir)[0], metrics_of(whole_run[0])[0]
    assert first["pixel_loss"] < fresh["loss"] - 0.1


@pytest.mark.slow
def test_profile_is_written(other_run):
    events = other_run[0] / "tensorboard" / other_run[0].name
    assert list(events.glob("plugins/profile/*/*.xplane.pb"))


def bad_photos(folder, photos):
    folder.mkdir()
    for path in sorted(photos.iterdir())[:9]:
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "letter.jpg").write_text("no picture")
    return folder


def with_dataset(tiny_flags, folder):
    return [*tiny_flags, f"--dataset=folder:{folder}"]


@pytest.mark.slow
def test_file_that_is_not_an_image_stops_the_run_with_its_name(train, tiny_flags, photos, tmp_path):
    folder = bad_photos(tmp_path / "photos", photos)
    flags = with_dataset(tiny_flags, folder)
    process = train(*flags, f"--run_dir={tmp_path / 'run'}", "--batch_size=10", check=False)
    assert process.returncode == 1
    line = error_line(process)
    assert str(folder / "letter.jpg") in line
    assert "--on_bad_image=skip" in line


@pytest.mark.slow
def test_bad_files_are_counted_listed_and_skipped(train, tiny_flags, photos, tmp_path):
    folder = bad_photos(tmp_path / "photos", photos)
    run_dir = tmp_path / "run"
    flags = [f"--run_dir={run_dir}", "--on_bad_image=skip"]
    process = train(*with_dataset(tiny_flags, folder), *flags, "--max_steps=3")
    assert "Skipped unreadable images: 1 of 10 (letter.jpg)" in process.stdout
    assert "9 images, 1 batches of 8 an epoch, 1 left over" in process.stdout
    assert json.loads((run_dir / "bad_images.json").read_text()) == ["letter.jpg"]
    # The run continues with the same images in another place.
    folder.rename(tmp_path / "moved")
    process = train(*with_dataset(tiny_flags, tmp_path / "moved"), *flags, "--max_steps=5")
    assert "Skipped unreadable images: 1 of 10 (letter.jpg)" in process.stdout
    assert "resuming from step 3" in process.stdout


def test_fewer_images_than_a_batch_are_rejected(train, tiny_flags, tmp_path):
    process = train(*tiny_flags, f"--run_dir={tmp_path / 'run'}", "--batch_size=64", check=False)
    assert process.returncode == 2
    assert "--batch_size=64 is greater than the number of images in" in process.stderr
    assert process.stderr.endswith(" (48); use at most 48\n")


def test_unprepared_dataset_is_explained(train, tmp_path):
    process = train(
        "--flagfile=configs/pixpro.flags",
        f"--data_dir={tmp_path}",
        f"--run_dir={tmp_path / 'run'}",
        check=False,
        cwd=ROOT,
    )
    assert process.returncode == 1
    assert "Traceback" not in process.stderr
    for part in ("imagenet2012", "tfds.builder(", "scenes/128", "folder:PATH"):
        assert part in process.stderr


def test_whole_step_compilation_with_several_replicas_is_rejected(train, tiny_flags, tmp_path):
    process = train(
        *tiny_flags,
        f"--run_dir={tmp_path / 'run'}",
        "--strategy=mirrored",
        "--num_devices=2",
        "--jit=step",
        check=False,
    )
    assert process.returncode == 2
    assert "--jit=step" in process.stderr
