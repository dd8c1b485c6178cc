"""Networks of Keras Applications and KerasHub, saved by Keras 3 in an environment of its own, compared with ours by their features."""

import os
import shutil
import subprocess

import h5py
import numpy as np
import pytest

from pixpro_tf import pretrained
from pixpro_tf.backbones import resnet
from pixpro_tf.data.views.channels import IMAGENET_MEAN, RGB
from pixpro_tf.data.views.photometric import normalize
from pixpro_tf.keras2 import LEGACY_KERAS_VARIABLE
from pixpro_tf.pretrained import keras_files, keras_names, reading, torch_names
from pixpro_tf.pretrained.normalisation import Normalisation
from tests.export.conftest import consume, environment  # noqa: F401 - a fixture
from tests.pretrained.test_keras import TOLERANCE, photograph, relative_difference

pytestmark = pytest.mark.thorough
FORMATS = ("applications.h5", "applications.weights.h5", "applications.keras")
# This project's mean, with which both networks pad in the same way.
SAME_MEAN = Normalisation((1.0, 1.0, 1.0), tuple(-255 * mean for mean in IMAGENET_MEAN), bgr=True)


@pytest.fixture(scope="module")
def networks(consume, tmp_path_factory):  # noqa: F811 - the fixture
    folder = tmp_path_factory.mktemp("networks")
    found = consume("keras3", folder, script="keras3_networks", images=photograph())
    assert found["keras"].startswith("3.")
    return folder


def assert_same_features(arrays, architecture, layout, expected):
    backbone = resnet.build(architecture, layout)
    torch_names.load_state_dict(backbone, arrays)
    found = backbone(normalize(photograph() / 255, RGB))
    for name, value in expected.items():
        assert relative_difference(found[name], value) < TOLERANCE, name


def without_names(path, copy):
    """Copies a file without the names of its layers, which older versions of Keras 3 did not write."""
    shutil.copy(path, copy)

    def remove(_, item):
        item.attrs.pop("name", None)

    with h5py.File(copy, "r+") as file:
        file.visititems(remove)
    return str(copy)


@pytest.mark.parametrize("name", FORMATS)
def test_keras_applications_in_every_format_of_keras_3(networks, name):
    layers = keras_files.read_layers(str(networks / name))
    assert keras_names.is_applications(layers)
    expected = np.load(networks / "applications.npz")
    arrays = keras_names.to_torch(layers, SAME_MEAN)
    assert_same_features(arrays, "resnet50", "od_api", expected)


def test_keras_applications_without_the_names_of_layers(networks, tmp_path):
    path = without_names(networks / "applications.weights.h5", tmp_path / "old.weights.h5")
    layers = keras_files.read_layers(path)
    assert "conv2d" in layers
    expected = np.load(networks / "applications.npz")
    arrays = keras_names.to_torch(layers, SAME_MEAN)
    assert_same_features(arrays, "resnet50", "od_api", expected)


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("architecture", ["resnet18", "resnet50", "resnet50d"])
def test_presets_of_keras_hub(networks, tmp_path, architecture, named):
    folder = networks / architecture
    if not named:
        shutil.copytree(folder, tmp_path / "preset")
        without_names(folder / "model.weights.h5", tmp_path / "preset" / "model.weights.h5")
        folder = tmp_path / "preset"
    found = pretrained.read(f"keras_hub:{folder}")
    assert (found.architecture, found.layout) == (architecture, "torchvision")
    expected = np.load(networks / f"{architecture}.npz")
    assert_same_features(found.arrays, architecture, "torchvision", expected)


def test_the_program_that_loads_a_preset_works_in_keras_hub(networks, tmp_path):
    # A folder instead of a name, for which KerasHub would connect to the network.
    preset, saved = networks / "resnet18", tmp_path / "saved"
    done = subprocess.run(
        [environment("keras3"), "-c", reading.SAVE_PRESET, preset, saved],
        env={key: value for key, value in os.environ.items() if key != LEGACY_KERAS_VARIABLE},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "no image converter" not in done.stderr, done.stderr
    found, expected = (pretrained.read(f"keras_hub:{folder}") for folder in (saved, preset))
    for name, array in expected.arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array, err_msg=name)
