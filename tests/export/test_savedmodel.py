"""The SavedModel as its consumers load it."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_hub as hub

from export import savedmodel
from pixpro_tf import initialization, trained
from pixpro_tf.data.photometric import normalize
from tests.models import make_model, make_run

IMAGES = np.random.default_rng(0).uniform(size=(2, 65, 96, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"), backbone="resnet10")


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "backbone"
    assert savedmodel.main([f"--run={run}", f"--output={folder}"]) == 0
    return str(folder)


def expected(run):
    backbone, _ = trained.load_backbone(str(run))
    return backbone(normalize(tf.constant(IMAGES)))


def test_hub_gives_the_backbones_features_without_this_project(run, exported, tmp_path):
    script = (
        "import os; os.environ['TF_USE_LEGACY_KERAS'] = '1'\n"
        "import sys, numpy as np, tensorflow_hub as hub\n"
        "model = hub.load(sys.argv[1])\n"
        "images = np.load(sys.argv[2])\n"
        "features = model(images, return_endpoints=True)\n"
        "np.savez(sys.argv[3], vector=model(images), **features)\n"
        "assert 'pixpro_tf' not in sys.modules\n"
    )
    np.save(tmp_path / "images.npy", IMAGES)
    arguments = [exported, str(tmp_path / "images.npy"), str(tmp_path / "features.npz")]
    subprocess.run([sys.executable, "-c", script, *arguments], check=True, cwd=tmp_path)
    found = np.load(tmp_path / "features.npz")
    for name, features in expected(run).items():
        scale = np.abs(features).max()
        np.testing.assert_allclose(found[name], features, rtol=0, atol=1e-6 * scale)
    np.testing.assert_array_equal(found["vector"], found["pooled"])
    np.testing.assert_allclose(found["pooled"], found["c5"].mean(axis=(1, 2)), rtol=1e-5)


def test_signatures_give_the_same(exported):
    model = tf.saved_model.load(exported)
    maps = model.signatures["feature_maps"](inputs=tf.constant(IMAGES))
    assert set(maps) == {"c2", "c3", "c4", "c5", "pooled"}
    vector = model.signatures["serving_default"](inputs=tf.constant(IMAGES))["pooled"]
    np.testing.assert_allclose(vector, model(IMAGES), rtol=1e-6)
    np.testing.assert_allclose(maps["pooled"], vector, rtol=1e-6)


def test_hubs_layer_trains_it(exported):
    layer = hub.KerasLayer(exported, trainable=True, arguments={"return_endpoints": True})
    images = tf.constant(IMAGES)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(images, training=True)["c5"])
    gradients = tape.gradient(loss, layer.trainable_variables)
    # Twelve convolutions with their scales and shifts.
    assert len(gradients) == 36 and all(gradient is not None for gradient in gradients)
    averages = {v.name: v.numpy() for v in layer.variables if "moving_mean" in v.name}
    layer(images + 1, training=True)
    assert len(averages) == 12
    assert all(np.any(v.numpy() != averages[v.name]) for v in layer.variables if v.name in averages)


def test_a_run_starts_from_it(run, exported):
    model = make_model()
    initialization.initialize_from(model, exported)
    backbone, _ = trained.load_backbone(str(run))
    for a, b in zip(model.online.backbone.variables, backbone.variables, strict=True):
        np.testing.assert_array_equal(a, b)


def test_mistakes_are_one_line_and_leave_nothing_behind(tmp_path, capsys):
    output = tmp_path / "out"
    assert savedmodel.main([f"--run={tmp_path / 'nowhere'}", f"--output={output}"]) == 1
    error = capsys.readouterr().err
    assert "holds no checkpoint" in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())
