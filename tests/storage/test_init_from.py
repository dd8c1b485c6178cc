import functools
import http.server
import re
import tarfile
import threading
import types

import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import save_file

from pixpro_tf.backbones import resnet
from pixpro_tf.config import Config
from pixpro_tf.data.views.channels import RGB, Channels
from pixpro_tf.errors import RunError
from pixpro_tf.export import savedmodel as savedmodel_export
from pixpro_tf.export import torch as torch_export
from pixpro_tf.pretrained import torch_names
from pixpro_tf.storage import init_from, trained_weights
from pixpro_tf.storage.checkpoints import checkpoint_of
from pixpro_tf.storage.run_folder import RunFolder, start_run_folder
from tests.support.models import OTHER_MEAN, assert_target_follows, make_model, make_run, settle


def values(part):
    return [variable.numpy() for variable in part.variables]


def assert_equal(part_a, part_b):
    for a, b in zip(values(part_a), values(part_b), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Model with distinct weights, and its checkpoint."""
    model = make_model()
    rng = np.random.default_rng(0)
    for variable in model.variables:
        variable.assign(rng.uniform(0.5, 1, variable.shape))
    return model, checkpoint_of(model).write(str(tmp_path_factory.mktemp("saved") / "step-3"))


@pytest.mark.slow
def test_checkpoint_initialises_backbone_heads_and_target(saved):
    source, path = saved
    model = make_model()
    line = init_from.initialize_from(model, path)
    assert "backbone, pixel projector, pixel predictor" in line
    assert_equal(model.online, source.online)
    assert_equal(model.objectives[0], source.objectives[0])
    assert_target_follows(model)


def test_heads_of_another_size_are_not_loaded(saved):
    source, path = saved
    model = make_model(projector_dim=8)
    before = values(model.online.projectors["pixel"])
    assert "projector" not in init_from.initialize_from(model, path).split(" of ")[0]
    assert_equal(model.online.backbone, source.online.backbone)
    for a, b in zip(before, values(model.online.projectors["pixel"]), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_another_backbone_is_rejected(saved):
    with pytest.raises(RunError, match="is not a resnet18; use the --backbone"):
        init_from.initialize_from(make_model("resnet18"), saved[1])


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory):
    """SavedModel of a backbone, as `tf.saved_model.save` writes it."""
    backbone = resnet.build("resnet10", name="somebodys")
    rng = np.random.default_rng(1)
    for variable in backbone.variables:
        variable.assign(rng.uniform(0.5, 1, variable.shape))
    folder = str(tmp_path_factory.mktemp("saved_model") / "backbone")
    features = tf.function(
        lambda images: backbone(images, training=False)["c5"],
        input_signature=[tf.TensorSpec([None, None, None, 3])],
    )
    tf.saved_model.save(
        tf.train.Checkpoint(variables=backbone.variables, __call__=features), folder
    )
    return backbone, folder


@pytest.mark.slow
def test_saved_model_initialises_backbone(saved_model):
    source, folder = saved_model
    model = make_model()
    init_from.initialize_from(model, folder)
    assert_equal(model.online.backbone, source)
    assert_target_follows(model)


def pack(folder, path):
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, arcname=".")


@pytest.mark.slow
def test_archive_of_saved_model_initialises_backbone(saved_model, tmp_path):
    source, folder = saved_model
    model = make_model()
    pack(folder, tmp_path / "model.tar.gz")
    init_from.initialize_from(model, str(tmp_path / "model.tar.gz"))
    assert_equal(model.online.backbone, source)
    (tmp_path / "broken.tar.gz").write_bytes(b"no archive")
    with pytest.raises(RunError, match=r"broken.tar.gz is not a run folder"):
        init_from.initialize_from(model, str(tmp_path / "broken.tar.gz"))


@pytest.mark.slow
def test_hub_handle_initialises_backbone(saved_model, tmp_path, monkeypatch):
    """Uses a server that responds like TF Hub: a request for the compressed form of a model returns a tar.gz file."""
    source, folder = saved_model
    pack(folder, tmp_path / "model")
    asked = []

    class Hub(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *_):
            pass

    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    handler = functools.partial(Hub, directory=str(tmp_path))
    model = make_model()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        handle = f"http://127.0.0.1:{server.server_port}/model"
        assert handle in init_from.initialize_from(model, handle)
        with pytest.raises(RunError, match=r"is not a run folder.*404"):
            init_from.initialize_from(model, handle + "s")
        server.shutdown()
    assert asked[0] == "/model?tf-hub-format=compressed"
    assert_equal(model.online.backbone, source)


def test_the_program_of_a_saved_model_is_not_run(tmp_path, monkeypatch):
    """It could do anything with the rights of the user, as soon as it is loaded."""
    stranger = tf.train.Checkpoint(kernel=tf.Variable(tf.ones([3]), name="conv1/kernel"))
    tf.saved_model.save(stranger, str(tmp_path))
    (tmp_path / "saved_model.pb").write_bytes(b"no program")
    kernel = tf.Variable(tf.zeros([3]), name="conv1/kernel")
    backbone = types.SimpleNamespace(
        architecture="tiny", layout="torchvision", channels=RGB, variables=[kernel]
    )
    online = types.SimpleNamespace(backbone=backbone)
    model = types.SimpleNamespace(online=online, start_target_from_online=lambda: None)
    init_from.initialize_from(model, str(tmp_path))
    np.testing.assert_array_equal(kernel, 1)


@pytest.mark.slow
def test_saved_model_of_another_backbone_is_rejected_and_nothing_is_assigned(saved_model):
    model = make_model("resnet18")
    before = values(model.online)
    with pytest.raises(RunError, match="so it is not a resnet18"):
        init_from.initialize_from(model, saved_model[1])
    for a, b in zip(before, values(model.online), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("names", "shape", "message"),
    [
        (
            ["conv1/kernel"],
            [4],
            r"has a different shape \(\(4,\)\) for conv1/kernel, so it is not a tiny",
        ),
        (
            ["online/conv1/kernel", "target/conv1/kernel"],
            [3],
            "contains several variables with the same name",
        ),
    ],
    ids=["other shape", "same name"],
)
def test_foreign_variables_that_do_not_match_are_rejected(names, shape, message, tmp_path):
    stored = [tf.Variable(tf.ones(shape), name=name) for name in names]
    tf.saved_model.save(tf.train.Checkpoint(variables=stored), str(tmp_path))
    kernel = tf.Variable(tf.zeros([3]), name="conv1/kernel")
    # The check reads only these attributes of a model.
    backbone = types.SimpleNamespace(architecture="tiny", variables=[kernel])
    model = types.SimpleNamespace(online=types.SimpleNamespace(backbone=backbone))
    with pytest.raises(RunError, match=message):
        init_from.initialize_from(model, str(tmp_path))
    assert not np.any(kernel)


@pytest.mark.slow
@pytest.mark.parametrize("handle", ["/nowhere/at/all", "nothing-here"])
def test_missing_handle_is_reported_in_one_line(handle):
    with pytest.raises(RunError, match="is not a run folder") as raised:
        init_from.initialize_from(make_model(), handle)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["step-3", "kept/step-3"])
def test_another_layout_is_rejected_if_the_run_records_its_layout(saved, tmp_path, name):
    model = make_model()
    folder = RunFolder(str(tmp_path))
    start_run_folder(Config(backbone="resnet10", backbone_layout="od_api"), folder, 48, [])
    checkpoint_of(saved[0]).write(f"{folder.checkpoints}/{name}")
    before = values(model.online)
    with pytest.raises(RunError, match=r"has the layout od_api .* use --backbone_layout=od_api"):
        init_from.initialize_from(model, f"{folder.checkpoints}/{name}")
    for a, b in zip(before, values(model.online), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_missing_file_system_is_reported_in_one_line():
    with pytest.raises(RunError, match=r"--init_from: nofs://bucket/run cannot be read: "):
        init_from.initialize_from(make_model(), "nofs://bucket/run")


def published(tmp_path, architecture):
    """Writes random weights of a backbone as a safetensors file; returns its path and the backbone."""
    backbone = resnet.build(architecture)
    rng = np.random.default_rng(0)
    for variable in backbone.variables:
        variable.assign(rng.uniform(0.5, 1, variable.shape))
    path = str(tmp_path / "published.safetensors")
    save_file(torch_names.state_dict(backbone), path)
    return path, backbone


def test_published_weights_initialise_the_backbone_and_the_target(tmp_path):
    model = make_model()
    path, backbone = published(tmp_path, model.online.backbone.architecture)
    assert init_from.initialize_from(model, path) == f"Initialised from {path}: backbone"
    assert_equal(model.online.backbone, backbone)
    assert_target_follows(model)


def test_published_weights_of_another_backbone_name_its_flag(tmp_path):
    path, _ = published(tmp_path, "resnet18")
    with pytest.raises(
        RunError, match=r"the resnet18 in .* is not a resnet.*; use --backbone=resnet18"
    ):
        init_from.initialize_from(make_model(), path)


def test_published_weights_of_another_layout_name_its_flag(tmp_path):
    model = make_model(backbone_layout="model_garden")
    path, _ = published(tmp_path, model.online.backbone.architecture)
    with pytest.raises(
        RunError, match=r"has the layout torchvision .*--backbone_layout=torchvision"
    ):
        init_from.initialize_from(model, path)


def test_weights_of_another_layout_are_accepted_on_request_and_the_difference_is_named(tmp_path):
    model = make_model(backbone_layout="model_garden")
    backbone = resnet.build("resnet10")
    settle(backbone)
    path = str(tmp_path / "published.safetensors")
    save_file(torch_names.state_dict(backbone), path)
    line = init_from.initialize_from(model, path, other_layout=True)
    assert_equal(model.online.backbone, backbone)
    assert_target_follows(model)
    found = re.fullmatch(
        r"Initialised from .*: backbone; the weights were trained in the layout torchvision, so c5 differs by (\d+)% until .*",
        line,
    )
    assert 5 < int(found[1]) < 200


def test_the_difference_of_equal_layouts_is_zero():
    backbone = resnet.build("resnet10w0.5")
    settle(backbone)
    assert init_from.layout_difference(backbone, "torchvision") == 0
    assert init_from.layout_difference(backbone, "mirror") > 0.001


OTHER_CHANNELS = Channels(RGB.low, RGB.high, *OTHER_MEAN.values())


def inner_map(backbone, channels):
    """Returns c2 of an image away from its border, where zero padding stands for another colour after a conversion."""
    image = np.random.default_rng(0).uniform(size=[1, 32, 32, 3]).repeat(4, 1).repeat(4, 2)
    normalised = (image - channels.mean) / channels.std
    return backbone(normalised.astype(np.float32))["c2"].numpy()[:, 6:-6, 6:-6]


@pytest.mark.parametrize("kind", ["run", pytest.param("saved", marks=pytest.mark.slow), "torch"])
def test_weights_are_converted_to_the_mean_and_std_of_the_run(tmp_path, kind):
    run = str(make_run(tmp_path / "run", backbone="resnet10", **OTHER_MEAN))
    handle = run
    if kind == "saved":
        handle = str(tmp_path / "saved")
        savedmodel_export.export(run, handle)
    if kind == "torch":
        handle = str(tmp_path / "mine.safetensors")
        torch_export.export(run, handle)
    source = trained_weights.restore_backbone(run)
    expected = inner_map(source, OTHER_CHANNELS)
    for flags, channels in (({}, RGB), (OTHER_MEAN, OTHER_CHANNELS)):
        model = make_model(**flags)
        line = init_from.initialize_from(model, handle)
        found = inner_map(model.online.backbone, channels)
        np.testing.assert_allclose(found, expected, atol=1e-4 * expected.max())
        assert_target_follows(model)
        said = "(first convolution converted to --channel_mean, --channel_std of this run)"
        assert (said in line) == (channels == RGB)
    assert_equal(model.online.backbone, source)


def test_published_weights_are_converted_to_the_mean_and_std_of_the_run(tmp_path):
    backbone = resnet.build("resnet10")
    settle(backbone)
    path = str(tmp_path / "published.safetensors")
    save_file(torch_names.state_dict(backbone), path)
    model = make_model(**OTHER_MEAN)
    assert "converted to --channel_mean" in init_from.initialize_from(model, path)
    expected = inner_map(backbone, RGB)
    found = inner_map(model.online.backbone, OTHER_CHANNELS)
    np.testing.assert_allclose(found, expected, atol=1e-4 * expected.max())


def test_what_is_assumed_about_a_lone_checkpoint_is_said(saved):
    assert "not recorded" not in init_from.initialize_from(make_model(), saved[1])
    line = init_from.initialize_from(make_model(**OTHER_MEAN), saved[1])
    assert "the range, mean and std of its images are not recorded and assumed to be those" in line
