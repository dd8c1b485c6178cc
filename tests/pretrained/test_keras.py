"""Networks of Keras Applications, in every format in which Keras 2 saves them, compared with ours by their features."""

import subprocess
import zipfile

import h5py
import numpy as np
import pytest
import tensorflow as tf
from skimage import data

from pixpro_tf import pretrained
from pixpro_tf.backbones import resnet
from pixpro_tf.data.views.channels import IMAGENET_MEAN, RGB
from pixpro_tf.data.views.photometric import normalize
from pixpro_tf.errors import RunError
from pixpro_tf.export.od_api.checkpoint import keras_resnet
from pixpro_tf.pretrained import keras_files, keras_names, reading, torch_names
from pixpro_tf.pretrained.normalisation import (
    CAFFE,
    EPSILON,
    IMAGENET,
    Normalisation,
    stem_for_imagenet,
)

# Relative to the largest magnitude of a map; see tests/backbones/test_resnet_torch.py.
TOLERANCE = 1e-5
# Of the last feature map of each stage of a ResNet-50.
ENDPOINTS = {
    "c2": "conv2_block3_out",
    "c3": "conv3_block4_out",
    "c4": "conv4_block6_out",
    "c5": "conv5_block3_out",
}


def randomised(model):
    """Sets random weights with activations of order 1: running averages close to those of a batch, and weak residual branches."""
    rng = np.random.default_rng(0)
    norms = [layer for layer in model.layers if "BatchNorm" in type(layer).__name__]
    for layer in model.layers:
        if isinstance(layer, tf.keras.layers.Conv2D):
            kernel = layer.kernel.numpy()
            deviation = np.sqrt(2 / np.prod(kernel.shape[:3]))
            values = [rng.normal(0, deviation, kernel.shape), rng.normal(0, 0.2, kernel.shape[3])]
            layer.set_weights(values)
    for norm in norms:
        last = norm.name.endswith("_3_bn")
        norm.gamma.assign(rng.uniform(0.5, 1.5, norm.gamma.shape) * (0.1 if last else 1))
        norm.beta.assign(rng.normal(0, 0.2, norm.beta.shape))
        norm.momentum = 0.0
    model(rng.normal(0, 60, [4, 64, 64, 3]).astype(np.float32), training=True)
    for norm in norms:
        deviation = np.sqrt(norm.moving_variance.numpy())
        norm.moving_mean.assign_add(0.2 * deviation * rng.normal(size=deviation.shape))
        norm.moving_variance.assign(norm.moving_variance * rng.uniform(0.7, 1.5, deviation.shape))
    return model


@pytest.fixture(scope="module")
def applications():
    return randomised(tf.keras.applications.ResNet50(weights=None, include_top=False))


@pytest.fixture(scope="module")
def layers(applications):
    return {layer.name: layer.get_weights() for layer in applications.layers if layer.weights}


def ours(weights, layout="od_api"):
    backbone = resnet.build("resnet50", layout)
    torch_names.load_state_dict(backbone, weights)
    return backbone


def photograph():
    return data.astronaut()[np.newaxis, 100:340, 60:316].astype(np.float32)


def maps_of_keras(model, images):
    outputs = {name: model.get_layer(layer).output for name, layer in ENDPOINTS.items()}
    return tf.keras.Model(model.input, outputs)(images)


def relative_difference(found, expected):
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.mark.slow
def test_features_equal_those_of_keras(applications, layers):
    # With this project's mean, the padding is the same.
    mean = 255 * np.array(IMAGENET_MEAN)
    weights = keras_names.to_torch(layers, Normalisation((1.0, 1.0, 1.0), tuple(-mean), bgr=True))
    images = photograph()
    found = ours(weights)(normalize(images / 255, RGB))
    expected = maps_of_keras(applications, (images - mean.astype(np.float32))[..., ::-1])
    for name in ENDPOINTS:
        assert relative_difference(found[name], expected[name]) < TOLERANCE, name


@pytest.mark.slow
def test_features_of_images_that_keras_prepares_differ_only_along_the_border(applications, layers):
    images = photograph()
    prepared = tf.keras.applications.resnet50.preprocess_input(images.copy())
    found = ours(keras_names.to_torch(layers))(normalize(images / 255, RGB))
    expected = maps_of_keras(applications, prepared)
    # A bin of c2 sees 17 pixels to each side, which are within 5 bins.
    inner = (slice(None), slice(5, -5), slice(5, -5))
    assert relative_difference(found["c2"][inner], expected["c2"][inner]) < TOLERANCE
    for name in ENDPOINTS:
        assert relative_difference(found[name], expected[name]) < 0.01, name


@pytest.mark.slow
def test_weights_of_keras_return_to_keras_for_the_object_detection_api(applications, layers):
    # The API subtracts the same mean, in the order red, green, blue, so that nothing differs along the border either.
    back = keras_resnet(ours(keras_names.to_torch(layers)))
    images = photograph()
    prepared = tf.keras.applications.resnet50.preprocess_input(images.copy())
    expected = maps_of_keras(applications, prepared)
    found = maps_of_keras(back, prepared[..., ::-1])
    for name in ENDPOINTS:
        assert relative_difference(found[name], expected[name]) < TOLERANCE, name


@pytest.mark.parametrize(
    ("name", "top"),
    [("model.h5", True), ("some.h5", False), ("some.weights.h5", False), ("model.keras", False)],
)
def test_every_format_of_keras_is_read(applications, layers, tmp_path, name, top):
    path = str(tmp_path / name)
    model = applications
    if top:
        pooled = tf.keras.layers.GlobalAveragePooling2D()(model.output)
        model = tf.keras.Model(model.input, tf.keras.layers.Dense(3)(pooled))
    (model.save if name.startswith("model") else model.save_weights)(path)
    found = keras_names.to_torch(keras_files.read_layers(path))
    expected = keras_names.to_torch(layers)
    assert found.keys() == expected.keys()
    for key, array in expected.items():
        np.testing.assert_array_equal(found[key], array, err_msg=key)
    assert pretrained.is_pretrained(path)
    assert pretrained.read(path).architecture == "resnet50"
    assert pretrained.read(path).layout == "od_api"


def test_the_biases_of_convolutions_are_part_of_the_running_means(layers):
    weights = keras_names.to_torch(layers)
    _, bias = layers["conv4_block2_2_conv"]
    mean = layers["conv4_block2_2_bn"][2]
    np.testing.assert_allclose(weights["layer3.1.bn2.running_mean"], mean - bias, rtol=1e-6)


@pytest.mark.parametrize("name", ["VGG16", "resnet50", ""])
def test_other_networks_of_keras_are_refused(name):
    with pytest.raises(RunError, match=r"is not supported; use keras: followed by one of ResNet50"):
        pretrained.read(f"keras:{name}")


def test_a_download_that_fails_names_the_alternative(monkeypatch):
    def fail(**_):
        raise OSError("URL fetch failure")

    monkeypatch.setattr(tf.keras.applications, "ResNet50", fail)
    with pytest.raises(RunError, match=r"keras:ResNet50 cannot be loaded: URL fetch failure.*\.h5"):
        pretrained.read("keras:ResNet50")


def test_a_preset_by_its_name_requires_keras_hub():
    with pytest.raises(RunError, match=r"keras_hub:resnet_50_imagenet requires KerasHub; .*FOLDER"):
        pretrained.read("keras_hub:resnet_50_imagenet")


def test_a_path_that_does_not_exist_is_no_name_of_a_preset():
    with pytest.raises(RunError, match=r"keras_hub:exported/typo is not an existing folder"):
        pretrained.read("keras_hub:exported/typo")


def test_a_biased_convolution_of_a_classifier_does_not_decide_the_family(layers):
    of_hub = {"stack0_block0_1_conv": [np.zeros([1, 1, 2, 2])], "classifier": layers["conv1_conv"]}
    assert not keras_names.is_applications(of_hub)
    assert keras_names.is_applications(layers)


def test_layers_of_other_kinds_are_passed_over(tmp_path):
    inputs = tf.keras.Input([8, 8, 3])
    model = tf.keras.Model(inputs, tf.keras.layers.DepthwiseConv2D(3)(inputs))
    model.save_weights(str(tmp_path / "mobile.h5"))
    assert keras_files.read_layers(str(tmp_path / "mobile.h5")) == {}


def test_a_folder_without_weights_is_no_preset(tmp_path):
    with pytest.raises(
        RunError, match=r"is not a preset of KerasHub: it has no model\.weights\.h5"
    ):
        pretrained.read(f"keras_hub:{tmp_path}")


def test_version_2_is_refused(layers):
    with pytest.raises(RunError, match="version 2"):
        keras_names.to_torch(layers | {"post_bn": layers["conv1_bn"]})


@pytest.mark.parametrize("given", [None, IMAGENET])
def test_networks_for_grey_images_are_refused(layers, given):
    kernel, bias = layers["conv1_conv"]
    grey = layers | {"conv1_conv": [kernel[:, :, :1], bias]}
    with pytest.raises(RunError, match="takes 1 instead of 3 channels; use one for RGB images"):
        keras_names.to_torch(grey, given)


@pytest.mark.parametrize("name", ["conv1_conv", "conv1_bn", "conv4_block2_2_conv"])
def test_unexpected_shapes_are_refused_in_one_line(layers, monkeypatch, tmp_path, name):
    # A kernel of another rank, a batch norm with a single array, and a bias of another length.
    arrays = {
        "conv1_conv": [np.zeros([64])],
        "conv1_bn": [layers["conv1_conv"][0]],
        "conv4_block2_2_conv": [layers["conv4_block2_2_conv"][0], np.zeros([3])],
    }
    changed = layers | {name: arrays[name]}
    monkeypatch.setattr(keras_files, "read_layers", lambda path: changed)
    path = tmp_path / "other.h5"
    path.touch()
    with pytest.raises(RunError, match=r"other\.h5 contains layers whose shapes are not") as raised:
        pretrained.read(str(path))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("code", "said"),
    [(-9, "the process that loads it was killed; check that there is"), (1, "exit code 1$")],
)
def test_a_preset_whose_process_ends_without_a_message(monkeypatch, code, said):
    done = subprocess.CompletedProcess([], code, "", "")
    monkeypatch.setattr(reading.subprocess, "run", lambda *_, **__: done)
    with pytest.raises(RunError, match=f"keras_hub:resnet cannot be loaded: {said}"):
        pretrained.read("keras_hub:resnet")


def test_files_without_a_resnet_are_refused(tmp_path):
    model = tf.keras.Sequential([tf.keras.Input([8, 8, 3]), tf.keras.layers.Conv2D(4, 3)])
    path = str(tmp_path / "other.h5")
    model.save_weights(path)
    with pytest.raises(RunError, match=r"other\.h5 does not contain a ResNet of Keras"):
        pretrained.read(path)


@pytest.mark.parametrize("name", ["cut.h5", "cut.weights.h5", "cut.keras", "cut.safetensors"])
@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04 not an archive", b"\x89HDF\r\n\x1a\n" + b"0" * 99]
)
def test_damaged_files_are_refused_in_one_line(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(RunError) as error:
        pretrained.read(str(path))
    assert str(error.value).startswith(f"{path} ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["huge.h5", "huge.keras"])
def test_files_that_declare_too_much_are_refused_in_one_line(tmp_path, name):
    path = tmp_path / name
    weights = tmp_path / "weights.h5"
    with h5py.File(weights, "w") as file:
        group = file.create_group("conv1_conv")
        # Nothing of it is stored.
        group.create_dataset("kernel", (7, 7, 10**5, 10**5), np.float32, chunks=(1, 1, 100, 100))
    if name == "huge.h5":
        weights.rename(path)
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(weights, "model.weights.h5")
    with pytest.raises(RunError, match=r"declares 1960 GB, more than --max_download_gigabytes=4"):
        pretrained.read(str(path))


def test_missing_files_are_refused():
    with pytest.raises(RunError, match=r"missing\.h5 is not an existing file"):
        pretrained.read("missing.h5")


def test_the_stem_is_converted_exactly_where_its_filters_do_not_respond():
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=[7, 7, 3, 4]).astype(np.float32) * [1e-6, 1e-3, 1.0, 0.0]
    mean, variance = rng.normal(size=4), np.array([0.0, 1e-6, 500.0, 0.0])
    images = rng.uniform(0, 255, [2, 7, 7, 3])

    def normalised(images, kernel, mean, variance, normalisation):
        inputs = images * normalisation.scale + normalisation.offset
        inputs = inputs[..., ::-1] if normalisation.bgr else inputs
        response = np.einsum("bhwc,hwco->bo", inputs, kernel.astype(np.float64))
        return (response - mean) / np.sqrt(variance + EPSILON)

    expected = normalised(images, kernel, mean, variance, CAFFE)
    converted = stem_for_imagenet(kernel, mean, variance, CAFFE)
    found = normalised(images, *(part.astype(np.float64) for part in converted), IMAGENET)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
    assert converted[2].min() > 0
