"""Weights in safetensors files, by the names of torchvision, timm and MMLab's tools."""

import importlib
import re

import numpy as np
import pytest
from safetensors.numpy import save_file

from pixpro_tf import pretrained
from pixpro_tf.backbones import resnet
from pixpro_tf.data.views.channels import RGB
from pixpro_tf.errors import RunError
from pixpro_tf.pretrained import recognition, safetensors_files, torch_names
from pixpro_tf.storage import trained_weights

# Numbers in a stem of three convolutions, each with its batch norm: authors' name -> number in the sequence of timm and MMLab's tools.
STEM = {"conv1.0.0": 0, "conv1.0.1": 1, "conv1.1.0": 3, "conv1.1.1": 4, "conv1.2": 6}


def random_state(architecture):
    backbone = resnet.build(architecture)
    rng = np.random.default_rng(0)
    return {
        name: rng.uniform(0.5, 1, torch_names.torch_shape(variable)).astype(np.float32)
        for name, variable in torch_names.variables_by_name(backbone).items()
    }


def renamed(state, stem, norm):
    """Returns a state dict with other names for the layers of the stem; the last batch norm is called `norm`."""
    names = {name: f"{stem}.{number}" for name, number in STEM.items()} | {"bn1": norm}
    found = {}
    for name, array in state.items():
        layer, _, part = name.rpartition(".")
        found[f"{names.get(layer, layer)}.{part}"] = array
    return found


def write(path, state, prefix=""):
    extras = {"fc.weight": np.zeros([5, 8], np.float32), "bn1.num_batches_tracked": np.array(3)}
    save_file({prefix + name: array for name, array in (state | extras).items()}, str(path))
    return str(path)


@pytest.mark.parametrize(
    ("architecture", "prefix", "stem", "norm"),
    [
        ("resnet18", "", None, None),
        ("resnet18", "backbone.", None, None),
        ("resnet18", "module.", None, None),
        # timm and, with a prefix, MMLab's tools.
        ("resnet18d", "", "conv1", "bn1"),
        ("resnet18d", "backbone.", "stem", "stem.7"),
    ],
)
def test_files_are_read_whatever_their_names(tmp_path, architecture, prefix, stem, norm):
    state = random_state(architecture)
    stored = renamed(state, stem, norm) if stem else state
    path = write(tmp_path / "weights.safetensors", stored, prefix)
    found = pretrained.read(path)
    assert (found.architecture, found.layout) == (architecture, "torchvision")
    backbone = trained_weights.restore_backbone(path)
    for name, variable in torch_names.variables_by_name(backbone).items():
        np.testing.assert_array_equal(
            torch_names.to_torch_layout(variable.numpy()), state[name], err_msg=name
        )


def test_half_precision_is_widened(tmp_path):
    state = random_state("resnet10w0.5")
    halves = {name: array.astype(np.float16) for name, array in state.items()}
    found = pretrained.read(write(tmp_path / "half.safetensors", halves))
    assert {array.dtype for array in found.arrays.values()} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(found.arrays["conv1.weight"], halves["conv1.weight"])


def test_bfloat16_is_widened(tmp_path):
    torch = pytest.importorskip("torch")
    torch_files = importlib.import_module("safetensors.torch")
    state = random_state("resnet10w0.5")
    tensors = {name: torch.from_numpy(array).bfloat16() for name, array in state.items()}
    path = str(tmp_path / "bfloat16.safetensors")
    torch_files.save_file(tensors, path)
    found = pretrained.read(path)
    for name, array in found.arrays.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, tensors[name].float().numpy())


def test_a_file_without_some_weights_is_refused_by_their_names(tmp_path):
    state = random_state("resnet10w0.5")
    del state["layer3.0.bn2.running_var"]
    path = write(tmp_path / "part.safetensors", state)
    message = f"{path} does not fit a resnet10w0.5: missing weights: layer3.0.bn2.running_var"
    with pytest.raises(RunError, match=f"^{re.escape(message)}$"):
        trained_weights.restore_backbone(path)


def test_a_changed_byte_of_an_own_file_is_detected(tmp_path):
    path = tmp_path / "own.safetensors"
    weights = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.array(3)}
    safetensors_files.write(str(path), weights)
    content = path.read_bytes()
    found, channels = safetensors_files.read(content)
    np.testing.assert_equal(found, {"a": weights["a"]})
    assert channels == RGB
    for damaged in (content[:-1] + b"\1", content.replace(b"[0.485, 0.456", b"[0.485, 0.556", 1)):
        with pytest.raises(RunError, match="its checksum differs; export the weights again"):
            safetensors_files.read(damaged)


@pytest.mark.parametrize(
    "stored",
    [
        "{",
        "[]",
        '{"low": [0]}',
        '{"low": [0, 0], "high": [1], "mean": [0], "std": [1]}',
        '{"low": [0], "high": [0], "mean": [0], "std": [1]}',
        '{"low": [0], "high": [1], "mean": [0], "std": [0]}',
    ],
)
def test_damaged_channels_are_reported_in_one_line(tmp_path, stored):
    path = tmp_path / "own.safetensors"
    save_file({"a": np.ones(2)}, str(path), metadata={"pixpro_tf.channels": stored})
    with pytest.raises(RunError, match=r"its metadata pixpro_tf\.channels is damaged; export"):
        safetensors_files.read(path.read_bytes())


def test_unknown_networks_are_refused(tmp_path):
    path = write(
        tmp_path / "other.safetensors", {"features.0.weight": np.zeros([2, 2], np.float32)}
    )
    with pytest.raises(RunError, match=re.escape(f"{path} does not contain the names of a known")):
        pretrained.read(path)


def test_a_file_without_weights_is_refused(tmp_path):
    path = str(tmp_path / "empty.safetensors")
    save_file({}, path)
    with pytest.raises(RunError, match=r"it contains no weights"):
        pretrained.read(path)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("bn1.weight", []),
        ("layer1.0.conv2.weight", [64]),
        ("layer1.0.conv2.weight", [8, 64, 3, 3]),
        ("layer1.0.conv2.weight", [64, 0, 3, 3]),
    ],
)
def test_unexpected_shapes_are_refused_in_one_line(tmp_path, name, shape):
    state = random_state("resnet18") | {name: np.ones(shape, np.float32)}
    path = write(tmp_path / "shapes.safetensors", state)
    with pytest.raises(RunError, match=re.escape(f"{path} contains a ResNet whose bn1.weight or")):
        pretrained.read(path)


@pytest.mark.parametrize("name", ["projector.linear1.weight", "projector.linear2.weight"])
def test_heads_of_unexpected_shapes_have_no_width(name):
    state = {f"encoder.{key}": array for key, array in random_state("resnet10w0.5").items()}
    state |= {f"projector.linear{number}.weight": np.ones([8, 8, 1, 1]) for number in (1, 2)}
    flags = recognition.recognise(state | {name: np.ones([])}).model_flags
    assert sorted((flags["projector_hidden"], flags["projector_dim"])) == [0, 8]


def test_published_weights_contain_one_network(tmp_path):
    path = write(tmp_path / "weights.safetensors", random_state("resnet10w0.5"))
    with pytest.raises(RunError, match="contains a single network; omit --network"):
        trained_weights.restore_backbone(path, "target")


@pytest.mark.parametrize("name", ["layer1.0.se.fc1.weight", "layer2.1.conv1.bias", "conv1.bias"])
def test_networks_with_further_layers_are_refused_by_name(tmp_path, name):
    state = random_state("resnet18") | {name: np.zeros([4], np.float32)}
    path = write(tmp_path / "attention.safetensors", state)
    message = f"{path} contains {name}, which a resnet18 does not have"
    with pytest.raises(RunError, match=re.escape(message)):
        trained_weights.restore_backbone(path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path, value):
    state = random_state("resnet18")
    state["layer3.0.conv1.weight"][0, 0, 0, 0] = value
    path = write(tmp_path / "broken.safetensors", state)
    with pytest.raises(RunError, match=r"values are not finite: layer3\.0\.conv1\.weight$"):
        trained_weights.restore_backbone(path)


@pytest.mark.parametrize("name", ["model.safetensors", "model.h5"])
def test_addresses_of_files_are_refused_with_advice(name):
    with pytest.raises(RunError, match="download the file and pass its path"):
        pretrained.read(f"https://127.0.0.1:9/{name}")
    with pytest.raises(RunError, match="cannot be read"):
        pretrained.read(f"nofs://bucket/{name}")
