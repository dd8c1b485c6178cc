"""A run on images with four channels from end to end: training, resuming, figures, initial weights, exports and refusals."""

import json
import shlex

import numpy as np
import pytest
import tensorflow as tf

import pixpro_tf
from pixpro_tf.backbones import resnet
from pixpro_tf.build import build_model
from pixpro_tf.cli import command_line
from pixpro_tf.config import Config
from pixpro_tf.data.stored_values import scaled
from pixpro_tf.data.views.channels import RGB, Channels
from pixpro_tf.errors import RunError
from pixpro_tf.evaluation import correspondence, visualize
from pixpro_tf.evaluation.sources import load_backbone as load_labelled
from pixpro_tf.evaluation.sources import load_backbone_and_neck
from pixpro_tf.export.commands import detectron2, savedmodel
from pixpro_tf.interop.torch.exporting import export_checkpoint
from pixpro_tf.storage import model_card, trained_weights
from pixpro_tf.storage.init_from import initialize_from
from pixpro_tf.storage.saved_model import load_backbone
from pixpro_tf.storage.stems import adapted_kernel
from pixpro_tf.training import results
from tests.support.models import FOUR_CHANNELS, SMALL, make_run

CHANNELS = Channels(*(FOUR_CHANNELS[f"channel_{key}"] for key in ("low", "high", "mean", "std")))


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiles")
    rng = np.random.default_rng(0)
    for index in range(16):
        coarse = tf.image.resize(rng.uniform(0, 4095, [1, 6, 6, 4]), [70, 80], "bicubic")[0]
        np.save(folder / f"{index}.npy", np.clip(coarse, 0, None).astype(np.uint16))
    return folder


@pytest.fixture(scope="module")
def flags(tiles):
    given = FOUR_CHANNELS | SMALL | {"dataset": f"folder:{tiles}", "backbone": "resnet10w0.5"}
    config = Config(**given, batch_size=8, epochs=2, warmup_epochs=0, augment_on="device")
    return [*config.changed_flags(), "--augment_on=device", "--strategy=one_device"]


@pytest.fixture(scope="module")
def run(train, flags, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("runs") / "four"
    train(*flags, f"--run_dir={run_dir}", "--max_steps=2")
    process = train(*flags, f"--run_dir={run_dir}", "--features_every=2")
    assert "step 4/4" in process.stdout
    return run_dir, process.stdout


@pytest.fixture(scope="module")
def saved(run, tmp_path_factory):
    output = tmp_path_factory.mktemp("saved") / "four"
    assert savedmodel.main([f"--from={run[0]}", f"--output={output}"]) == 0
    return output


@pytest.mark.slow
def test_the_run_writes_figures_and_names_commands_that_read_its_images(run, tiles):
    run_dir, output = run
    for name in ("views-0000002", "components-0000004", "matches-0000004"):
        assert (run_dir / "pictures" / f"{name}.png").stat().st_size > 5000
    commands = [shlex.split(line) for line in output.partition("Next:\n")[2].splitlines()]
    assert [each[2] for each in commands][2:] == [
        "pixpro_tf.evaluation.correspondence",
        "export.savedmodel",
    ]
    settings = command_line.parse(correspondence.Settings, commands[2][3:])
    assert settings.dataset == f"folder:{tiles}" and settings.source == str(run_dir)


@pytest.mark.slow
def test_the_saved_model_takes_scaled_values(run, saved, tiles):
    card = json.loads((saved / "model_card.json").read_text())
    assert model_card.channels_of(card) == CHANNELS
    assert card["input"].startswith("float32 in [0, 1], stored values scaled by low and high")
    assert "[batch, height, width, 4]" in (saved / "README.md").read_text()
    values = np.load(tiles / "0.npy")
    low, high, mean, std = (
        np.float32(FOUR_CHANNELS[f"channel_{k}"]) for k in ("low", "high", "mean", "std")
    )
    relative = np.clip((values - low) / (high - low), 0, 1)[None].astype(np.float32)
    backbone = trained_weights.restore_backbone(str(run[0]))
    wanted = backbone((relative - mean) / std)["c5"]
    found = load_backbone(str(saved), return_endpoints=True)(tf.constant(relative))["c5"]
    np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())
    # Training saw the same values with 8 bits.
    difference = scaled(values, CHANNELS.low, CHANNELS.high) / 255 - relative[0]
    assert np.abs(difference).max() < 0.51 / 255


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["run", "saved"])
def test_figures_and_dense_matching_read_the_images(kind, run, saved, tiles, tmp_path, capsys):
    source = run[0] if kind == "run" else saved
    output = tmp_path / "matched"
    arguments = [f"--from={source}", f"--dataset=folder:{tiles}", "--image_size=64", "--pairs=8"]
    assert correspondence.main([*arguments, f"--output={output}"]) == 0
    assert (output / "matches.png").exists()
    assert correspondence.main([*arguments, "--augmentation=simclr_grey"]) == 2
    assert "--augmentation=simclr_grey needs red, green and blue" in capsys.readouterr().err
    paths = f"{tiles}/0.npy,{tiles}/1.npy"
    shown = [f"--from={source}", f"--images={paths}", "--image_size=64"]
    assert visualize.main([*shown, f"--output={tmp_path / 'figures'}"]) == 0
    assert len(list((tmp_path / "figures").glob("*.png"))) == 4


@pytest.mark.slow
def test_weights_of_four_channels_start_other_runs(run, saved, flags):
    config = command_line.parse(Config, flags)
    same = build_model(config, total_steps=4)
    assert "backbone, pixel projector" in initialize_from(same, str(run[0]))
    source = trained_weights.restore_backbone(str(run[0]))
    rgb = build_model(Config(backbone="resnet10w0.5", **SMALL), total_steps=4)
    for handle in (run[0], saved):
        line = initialize_from(rgb, str(handle))
        assert "backbone (first convolution adapted from 4 to 3 channels)" in line
        for ours, theirs in zip(rgb.online.backbone.variables, source.variables, strict=True):
            if ours.shape == theirs.shape:
                np.testing.assert_array_equal(ours, theirs)
    # And back.
    adapted = adapted_kernel(source.stem[0].kernel.numpy(), 3)
    np.testing.assert_array_equal(rgb.online.backbone.stem[0].kernel, adapted)
    np.testing.assert_array_equal(rgb.target.backbone.stem[0].kernel, adapted)


def test_an_adapted_network_has_the_features_of_grey_images():
    source = resnet.build("resnet10w0.5")
    grey = np.random.default_rng(0).normal(size=[2, 64, 64, 1]).astype(np.float32)
    wanted = source(np.repeat(grey, 3, axis=-1))["c5"]
    for count in (1, 6):
        statistics = [(value,) * count for value in (0.0, 255.0, 0.5, 0.2)]
        backbone = resnet.build("resnet10w0.5", channels=Channels(*statistics))
        for ours, theirs in zip(backbone.variables, source.variables, strict=True):
            value = theirs.numpy()
            ours.assign(value if ours.shape == value.shape else adapted_kernel(value, count))
        found = backbone(np.repeat(grey, count, axis=-1))["c5"]
        np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())


def test_what_reads_rgb_rejects_other_channels(tmp_path, capsys):
    run = make_run(tmp_path / "run", backbone="resnet18", **FOUR_CHANNELS)
    assert detectron2.main([f"--from={run}", f"--output={tmp_path / 'out.pkl'}"]) == 1
    assert "other channels (--channels=4)" in capsys.readouterr().err
    for load in (load_labelled, load_backbone_and_neck):
        with pytest.raises(
            RunError, match=r"\(--channels=4\), which evaluations with labels require"
        ):
            load(str(run))
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_the_authors_code_reads_rgb(tmp_path):
    pytest.importorskip("torch")
    run = make_run(tmp_path / "run", backbone="resnet10w0.5", **FOUR_CHANNELS)
    with pytest.raises(RunError, match=r"--channels=4, which the authors' code does not support"):
        export_checkpoint(str(run), str(tmp_path / "out.pth"))


def test_the_next_export_takes_the_channels():
    config = Config(backbone_layout="od_api", **FOUR_CHANNELS)
    assert results.export_of(config) == ("savedmodel", "")
    config = Config(backbone_layout="od_api", backbone="resnet50", channel_mean=(0.5, 0.5, 0.5))
    assert results.export_of(config)[0] == "od_api"


def test_cards_without_channels_are_of_rgb():
    assert model_card.channels_of({"backbone": {"architecture": "resnet50"}}) == RGB
    assert pixpro_tf.Config().image_channels == RGB
