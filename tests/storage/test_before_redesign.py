"""Compatibility with a run and an export that were written before the packages were redesigned.

`tests/data/before_redesign` contains both, as written by the old code: a run of a `resnet10w0.5` with an FPN, a dense head and the instance
branch, each of whose variables is filled with one value, so that they compress to a few kilobytes; its export with all heads; and, in
`facts.json`, the values that the old code read back: names, shapes and values of the checkpoint, and shape, mean and standard deviation of
each endpoint.
"""

import json
import tarfile

import numpy as np
import pytest

import pixpro_tf
from pixpro_tf import build
from pixpro_tf.storage import init_from
from pixpro_tf.storage.checkpoints import CheckpointStore
from pixpro_tf.storage.runs import Progress, Run
from pixpro_tf.storage.trained_weights import open_weights, restore_with_neck
from tests.conftest import ROOT

# isort: split
import tensorflow as tf

BEFORE = ROOT / "tests" / "data" / "before_redesign"
FACTS = json.loads((BEFORE / "facts.json").read_text())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("before")
    with tarfile.open(BEFORE / "run.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "run"


@pytest.fixture(scope="module")
def model(run):
    return build.build_compiled_model(Run.open(str(run)).config, 0.1, total_steps=3)


def contents(checkpoint):
    """Returns names, shapes and values of a checkpoint, as in `facts.json`."""
    reader = tf.train.load_checkpoint(checkpoint)
    types = reader.get_variable_to_dtype_map()
    values = {
        name: float(np.ravel(reader.get_tensor(name))[0])
        for name in types
        if "ATTRIBUTES" in name and types[name].is_floating
    }
    return reader.get_variable_to_shape_map(), values


def test_old_run_resumes(run, model, tmp_path):
    opened = Run.open(str(run))
    assert opened.progress == Progress(3, 3) and opened.config.fpn_levels == ["p3", "p4", "p5"]
    store = CheckpointStore(opened.folder.checkpoints, model)
    assert store.restore() == 3
    # Saving it again reproduces the old checkpoint, including momentum and steps.
    again = CheckpointStore(str(tmp_path), model)
    again.save()
    shapes, values = contents(again.latest)
    assert shapes == FACTS["keys"]
    assert values == FACTS["values"] and len(set(values.values())) > 50


def test_model_and_backbone_load_from_old_run(run):
    kernel = "online/backbone/stem/0/kernel/.ATTRIBUTES/VARIABLE_VALUE"
    loaded = Run.open(str(run)).load_model()
    assert np.ravel(loaded.online.backbone.stem[0].kernel)[0] == np.float32(FACTS["values"][kernel])
    with open_weights(str(run), "target") as weights:
        backbone, neck = restore_with_neck(weights)
    assert neck is not None and list(neck.levels) == ["p3", "p4", "p5"]
    assert np.ravel(backbone.stem[0].kernel)[0] == np.float32(
        FACTS["values"][kernel.replace("online", "target")]
    )


def test_old_export_computes_the_same_endpoints():
    images = np.linspace(0, 1, 2 * 64 * 64 * 3, dtype=np.float32).reshape(2, 64, 64, 3)
    layer = pixpro_tf.load_backbone(str(BEFORE / "export.tar.gz"), return_endpoints=True)
    found = layer(images)
    assert found.keys() == FACTS["endpoints"].keys()
    for name, (shape, mean, deviation) in FACTS["endpoints"].items():
        assert found[name].shape == shape
        np.testing.assert_allclose(tf.reduce_mean(found[name]), mean, rtol=1e-5)
        np.testing.assert_allclose(tf.math.reduce_std(found[name]), deviation, rtol=1e-4, atol=1e-4)


def test_run_initialises_from_old_export(model):
    line = init_from.initialize_from(model, str(BEFORE / "export.tar.gz"))
    assert line.endswith(": backbone, neck, projector, propagation")
