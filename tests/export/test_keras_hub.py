"""Presets for KerasHub: files, weights in both directions, and unsupported backbones; KerasHub itself in an environment of its own."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from pixpro_tf import pretrained
from pixpro_tf.backbones import resnet
from pixpro_tf.data.views.channels import RGB
from pixpro_tf.data.views.photometric import normalize
from pixpro_tf.export.commands import keras_hub as keras_hub_command
from pixpro_tf.export.keras_hub import SUPPORTED
from pixpro_tf.pretrained import torch_names
from pixpro_tf.storage import trained_weights
from tests.support.models import FOUR_CHANNELS, make_run, settle


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"), backbone="resnet18")


def test_the_preset_holds_the_weights_and_the_normalisation(run, tmp_path):
    output = tmp_path / "preset"
    assert keras_hub_command.main([f"--from={run}", f"--output={output}"]) == 0
    found = pretrained.read(f"keras_hub:{output}")
    expected = torch_names.state_dict(trained_weights.restore_backbone(str(run)))
    assert found.architecture == "resnet18" and found.arrays.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found.arrays[name], array, err_msg=name)
    config = json.loads((output / "config.json").read_text())
    assert config["registered_name"] == "keras_hub>ResNetBackbone"
    assert config["config"]["stackwise_num_blocks"] == [2, 2, 2, 2]
    readme = (output / "README.md").read_text()
    assert "preset" in readme and "a resnet18 pre-trained without labels with PixPro" in readme
    again = ["--from", f"keras_hub:{output}", f"--output={tmp_path / 'again'}"]
    assert keras_hub_command.main(again) == 0
    readme = (tmp_path / "again" / "README.md").read_text()
    assert f"with the weights of `keras_hub:{output}`" in readme and "PixPro" not in readme


def test_only_networks_that_keras_hub_builds_are_supported():
    assert set(SUPPORTED) >= {"resnet18", "resnet50", "resnet152", "resnet50d"}
    assert not {"resnet18d", "resnet10w0.5", "resnet50w2", "resnext101_32x8d"} & set(SUPPORTED)


@pytest.mark.thorough
@pytest.mark.parametrize("architecture", ["resnet18", "resnet50", "resnet50d"])
def test_keras_hub_computes_the_same_features_and_fine_tunes(architecture, tmp_path, consume):
    # One network is trained, because KerasHub's detector trains eagerly, which takes its time.
    train = architecture == "resnet50"
    backbone = resnet.build(architecture)
    settle(backbone)
    weights = tmp_path / "backbone.safetensors"
    save_file(torch_names.state_dict(backbone), str(weights))
    preset = tmp_path / "preset"
    assert keras_hub_command.main([f"--from={weights}", f"--output={preset}"]) == 0
    images = np.random.default_rng(0).integers(0, 256, [2, 96, 128, 3]).astype(np.float32)
    maps = backbone(normalize(images / 255, RGB))
    found = consume(
        "keras3",
        preset,
        script="keras3_preset",
        images=images,
        train=train,
        **{name: value.numpy() for name, value in maps.items()},
    )
    assert set(found["feature_errors"]) == {"c2", "c3", "c4", "c5"}
    assert max(found["feature_errors"].values()) < 1e-5
    for task in ("detector", "segmenter") if train else ():
        assert found[f"{task}_losses"][-1] < found[f"{task}_losses"][0], task


@pytest.mark.thorough
def test_keras_hub_computes_the_same_features_of_four_channels(tmp_path, consume):
    run = make_run(tmp_path / "run", backbone="resnet18", **FOUR_CHANNELS)
    preset = tmp_path / "preset"
    assert keras_hub_command.main([f"--from={run}", f"--output={preset}"]) == 0
    assert "[100.0, 0.0, 50.0, 200.0]" in (preset / "README.md").read_text()
    images = np.random.default_rng(0).integers(0, 256, [2, 96, 128, 4]).astype(np.float32)
    mean, std = (np.float32(FOUR_CHANNELS[f"channel_{name}"]) for name in ("mean", "std"))
    maps = trained_weights.restore_backbone(str(run))((images / 255 - mean) / std)
    found = consume(
        "keras3",
        preset,
        script="keras3_preset",
        images=images,
        train=False,
        **{name: value.numpy() for name, value in maps.items()},
    )
    assert max(found["feature_errors"].values()) < 1e-5
