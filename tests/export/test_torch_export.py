"""State dicts with the names of torchvision and timm: files, mistakes, and features in their networks."""

import json
import subprocess

import numpy as np
import pytest
import tensorflow as tf
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from pixpro_tf import pretrained
from pixpro_tf.backbones import resnet
from pixpro_tf.export import torch as torch_export
from pixpro_tf.export.commands import torch as torch_command
from pixpro_tf.interop.torch import files
from pixpro_tf.pretrained import torch_names
from pixpro_tf.storage import trained_weights
from tests.support import warm
from tests.support.models import FOUR_CHANNELS, OTHER_MEAN, make_run, settle


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"), backbone="resnet18")


def test_the_file_holds_the_weights_of_the_backbone(run, tmp_path, capsys):
    output = tmp_path / "mine.safetensors"
    assert torch_command.main([f"--from={run}", f"--output={output}"]) == 0
    printed = capsys.readouterr().out
    assert "torchvision.models.resnet18().load_state_dict(state, strict=False)" in printed
    assert 'timm.create_model("resnet18", num_classes=0).load_state_dict(state)' in printed
    expected = torch_names.state_dict(trained_weights.restore_backbone(str(run)))
    found = load_file(output)
    counters = {name for name in found if name.endswith(".num_batches_tracked")}
    assert len(counters) == 20 and found.keys() - counters == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
    with safe_open(output, "np") as file:
        assert file.metadata()["format"] == "pt"
    # It can be read back.
    assert pretrained.read(str(output)).architecture == "resnet18"


@pytest.mark.slow
def test_the_target_network_is_exported_as_a_file_of_pytorch(run, tmp_path, capsys):
    pytest.importorskip("torch")
    output = tmp_path / "mine.pth"
    assert torch_command.main([f"--from={run}", "--network=target", f"--output={output}"]) == 0
    expected = torch_names.state_dict(trained_weights.restore_backbone(str(run), "target"))
    found = files.read(str(output)).weights
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_the_layers_of_a_deep_stem_are_numbered(tmp_path):
    backbone = resnet.build("resnet18d")
    source, output = tmp_path / "source.safetensors", tmp_path / "output.safetensors"
    weights = torch_names.state_dict(backbone)
    np.testing.assert_equal(
        {name for name in weights if name.startswith("conv1.") and name.endswith(".weight")},
        {f"conv1.{place}.weight" for place in ("0.0", "0.1", "1.0", "1.1", "2")},
    )
    save_file(weights, str(source))
    torch_export.export(str(source), str(output))
    found = load_file(output)
    stem = {name for name in found if name.startswith("conv1.") and name.endswith(".weight")}
    assert stem == {f"conv1.{place}.weight" for place in (0, 1, 3, 4, 6)}
    for theirs, ours in (("0", "0.0"), ("1", "0.1"), ("3", "1.0"), ("4", "1.1"), ("6", "2")):
        np.testing.assert_array_equal(
            found[f"conv1.{theirs}.weight"], weights[f"conv1.{ours}.weight"]
        )


def test_unknown_architectures_have_no_lines(tmp_path, capsys):
    run = make_run(tmp_path / "run", backbone="resnet10w0.5")
    output = tmp_path / "mine.safetensors"
    assert torch_command.main([f"--from={run}", f"--output={output}"]) == 0
    assert capsys.readouterr().out == (
        f"Wrote {output}\n"
        "Images: RGB in [0, 1], minus (0.485, 0.456, 0.406), divided by (0.229, 0.224, 0.225)\n"
    )


def test_the_file_and_the_command_say_how_images_are_scaled_and_normalised(tmp_path, capsys):
    run = make_run(tmp_path / "run", backbone="resnet10w0.5", **FOUR_CHANNELS)
    output = tmp_path / "mine.safetensors"
    assert torch_command.main([f"--from={run}", f"--output={output}"]) == 0
    expected = (
        "(values - [100.0, 0.0, 50.0, 200.0]) / ([3000.0, 4095.0, 3500.0, 4000.0] - [100.0, 0.0, 50.0, 200.0]), limited to [0, 1], "
        "minus (0.3, 0.4, 0.5, 0.6), divided by (0.1, 0.2, 0.25, 0.15)"
    )
    assert f"Images: {expected}\n" in capsys.readouterr().out
    with safe_open(output, "np") as file:
        metadata = file.metadata()
    assert metadata["pixpro_tf.input"] == expected
    flags = {
        f"channel_{key}": value for key, value in json.loads(metadata["pixpro_tf.channels"]).items()
    }
    assert flags == {name: list(FOUR_CHANNELS[name]) for name in flags} and len(flags) == 4
    # They are read back with the weights.
    source, found = (trained_weights.restore_backbone(str(each)) for each in (run, output))
    assert found.channels == source.channels
    for ours, theirs in zip(found.variables, source.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_pytorchs_own_format_says_it_on_the_screen(tmp_path, capsys):
    pytest.importorskip("torch")
    run = make_run(tmp_path / "run", backbone="resnet10w0.5", **OTHER_MEAN)
    assert torch_command.main([f"--from={run}", f"--output={tmp_path / 'mine.pth'}"]) == 0
    said = "Images: RGB in [0, 1], minus (0.1, 0.7, 0.4), divided by (0.05, 0.3, 0.1)\n"
    assert said in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("name", ["backbone.safetensors", "backbone.pth"])
def test_a_full_disk_is_reported_in_one_line(run, tmp_path, name):
    code = (
        "import resource, sys; from pixpro_tf.export.commands import torch\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))\n"
        "sys.exit(torch.main(sys.argv[1:]))"
    )
    flags = [f"--from={run}", f"--output={tmp_path / name}", "--allow_unfinished"]
    process = subprocess.run(warm.python("-c", code, *flags), capture_output=True, text=True)
    assert process.returncode == 1
    (line,) = [line for line in process.stderr.splitlines() if line.startswith("error: ")]
    assert f"--output={tmp_path / name} cannot be written: " in line and "File too large" in line
    assert "Traceback" not in process.stderr and not list(tmp_path.iterdir())


def test_mistakes_are_reported_in_one_line(run, tmp_path, capsys):
    other = make_run(tmp_path / "other", backbone="resnet18", backbone_layout="od_api")
    there = tmp_path / "there.safetensors"
    there.write_text("")
    for flags, message in (
        ([f"--from={run}", f"--output={tmp_path / 'mine'}"], "must be a file that ends in"),
        ([f"--from={other}", f"--output={tmp_path / 'a.safetensors'}"], "--backbone_layout=od_api"),
        ([f"--from={run}", f"--output={there}"], "already exists"),
    ):
        assert torch_command.main(flags) != 0
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("error: ") and message in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "there.safetensors"]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("architecture", "suffix"),
    [("resnet18", "pth"), ("resnet50", "safetensors"), ("resnet50d", "safetensors")],
)
def test_networks_of_torchvision_and_timm_compute_the_same_features(
    architecture, suffix, tmp_path, consume
):
    backbone = resnet.build(architecture)
    settle(backbone)
    source, output = tmp_path / "source.safetensors", tmp_path / f"output.{suffix}"
    save_file(torch_names.state_dict(backbone), str(source))
    torch_export.export(str(source), str(output))
    images = np.random.default_rng(0).normal(size=[2, 96, 128, 3]).astype(np.float32)
    maps = {level: value.numpy() for level, value in backbone(images).items() if level[0] == "c"}
    written = tmp_path / "timm.safetensors"
    found = consume(
        "torch",
        output,
        script="torch_networks",
        images=images,
        architecture=architecture,
        written=str(written),
        **{level: maps[level] for level in ("c2", "c3", "c4", "c5")},
    )
    assert set(found) == {"timm"} | ({"torchvision"} if architecture[-1] != "d" else set())
    for errors in found.values():
        assert max(errors.values()) < 1e-5, found
    # The other direction: timm's own weights, read here.
    theirs = trained_weights.restore_backbone(str(written))
    assert theirs.architecture == architecture
    expected = np.load(f"{written}.npz")
    for level, value in theirs(tf.constant(images)).items():
        if level in expected:
            scale = np.abs(expected[level]).max()
            assert np.abs(value.numpy() - expected[level]).max() < 1e-5 * scale, level


@pytest.mark.thorough
def test_timm_computes_the_same_features_of_four_channels(tmp_path, consume, capsys):
    run = make_run(tmp_path / "run", backbone="resnet18", **FOUR_CHANNELS)
    output = tmp_path / "output.safetensors"
    assert torch_command.main([f"--from={run}", f"--output={output}"]) == 0
    printed = capsys.readouterr().out
    assert 'timm.create_model("resnet18", num_classes=0, in_chans=4)' in printed
    assert "torchvision" not in printed
    images = np.random.default_rng(0).normal(size=[2, 96, 128, 4]).astype(np.float32)
    maps = trained_weights.restore_backbone(str(run))(images)
    found = consume(
        "torch",
        output,
        script="torch_networks",
        images=images,
        architecture="resnet18",
        written="",
        **{level: value.numpy() for level, value in maps.items()},
    )
    assert set(found) == {"timm"} and max(found["timm"].values()) < 1e-5
