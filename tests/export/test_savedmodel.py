"""Exported SavedModels as their consumers load them."""

import functools
import hashlib
import http.server
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import threading

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_hub as hub
from tensorflow.core.protobuf import saved_model_pb2

import pixpro_tf
from pixpro_tf.backbones import resnet
from pixpro_tf.config import Config
from pixpro_tf.data.views.channels import RGB
from pixpro_tf.data.views.photometric import normalize
from pixpro_tf.errors import RunError
from pixpro_tf.export import savedmodel
from pixpro_tf.export.commands import savedmodel as savedmodel_command
from pixpro_tf.interop.torch import exporting
from pixpro_tf.storage import init_from, model_card, trained_weights
from pixpro_tf.storage.run_folder import RunFolder, write_description
from pixpro_tf.storage.runs import Run
from pixpro_tf.storage.saved_model import reusable
from tests.support import warm
from tests.support.models import make_model, make_run, settle

IMAGES = np.random.default_rng(0).uniform(size=(2, 65, 96, 3)).astype(np.float32)
SMALL_RESNEXT = "resnext14"
# Tolerance relative to the largest value of a map; the graph is the same before and after.
TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"), backbone="resnet10")


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "backbone"
    assert savedmodel_command.main([f"--from={run}", f"--output={folder}"]) == 0
    return str(folder)


@pytest.fixture(scope="module")
def exported_heads(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("heads") / "backbone"
    assert savedmodel_command.main([f"--from={run}", f"--output={folder}", "--include_heads"]) == 0
    return str(folder)


@pytest.fixture(scope="module")
def packed(run, tmp_path_factory):
    archive = tmp_path_factory.mktemp("packed") / "backbone.tar.gz"
    assert savedmodel_command.main([f"--from={run}", f"--output={archive}"]) == 0
    return archive


def expected(backbone, images=IMAGES):
    return tf.function(lambda inputs: backbone(normalize(inputs, RGB)))(tf.constant(images))


def assert_same_maps(found, wanted, tolerance=TOLERANCE):
    for name, features in wanted.items():
        scale = np.abs(features).max()
        np.testing.assert_allclose(found[name], features, rtol=0, atol=tolerance * scale)


@pytest.fixture
def sums_as_written():
    """Keeps the order of sums in a graph.

    Grappler reorders sums whose shapes it knows, which depend on what wraps the graph; over 150 layers this changes results by 3e-6.
    """
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})
    yield
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": True})


@pytest.mark.slow
@pytest.mark.usefixtures("sums_as_written")
@pytest.mark.parametrize(
    "name",
    [
        "resnet10w0.5",
        pytest.param("resnet18d", marks=pytest.mark.slow),
        pytest.param(SMALL_RESNEXT, marks=pytest.mark.slow),
        *(
            pytest.param(name, marks=pytest.mark.thorough)
            for name in resnet.ARCHITECTURES
            if name not in ("resnet10w0.5", "resnet18d")
        ),
    ],
)
def test_features_are_the_same_after_loading(name, tmp_path, monkeypatch):
    small = resnet.Architecture((1, 1, 1, 1), groups=32, group_width=8)
    monkeypatch.setitem(resnet.ARCHITECTURES, SMALL_RESNEXT, small)
    backbone = resnet.build(name)
    settle(backbone)
    root, signatures = reusable(backbone)
    tf.saved_model.save(root, str(tmp_path), signatures=signatures)
    found = tf.saved_model.load(str(tmp_path))(IMAGES, return_endpoints=True)
    assert_same_maps(found, expected(backbone))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "layout", "stride"), [("resnet10", "model_garden", 8)])
def test_features_of_other_layouts_and_strides_are_the_same_after_loading(
    name, layout, stride, tmp_path
):
    backbone = resnet.build(name, layout, stride)
    settle(backbone)
    root, _ = reusable(backbone)
    tf.saved_model.save(root, str(tmp_path))
    found = tf.saved_model.load(str(tmp_path))(IMAGES, return_endpoints=True)
    assert found["c5"].shape[1:3] == (9, 12)
    assert_same_maps(found, expected(backbone))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "stride"), [("resnet10", 8), (SMALL_RESNEXT, 32)])
def test_signatures_contain_plain_operations_only(name, stride, tmp_path, monkeypatch):
    """Converters to other formats, such as ONNX, do not know functions that XLA must compile."""
    small = resnet.Architecture((1, 1, 1, 1), groups=32, group_width=8)
    monkeypatch.setitem(resnet.ARCHITECTURES, SMALL_RESNEXT, small)
    backbone = resnet.build(name, output_stride=stride)
    settle(backbone)
    root, signatures = reusable(backbone)
    tf.saved_model.save(root, str(tmp_path), signatures=signatures)
    loaded = tf.saved_model.load(str(tmp_path))
    found = loaded.signatures["feature_maps"](inputs=tf.constant(IMAGES))
    assert_same_maps(found, expected(backbone))
    graph = loaded.signatures["feature_maps"].graph.as_graph_def()
    functions = {each.signature.name: each for each in graph.library.function}
    seen, called = set(), list(graph.node)
    while called:
        node = called.pop()
        assert not node.attr["_XlaMustCompile"].b, node.name
        # Runtimes of ONNX have no SAME padding of dilated convolutions.
        if node.op == "Conv2D" and max(node.attr["dilations"].list.i) > 1:
            assert node.attr["padding"].s == b"VALID"
        name = node.attr["f"].func.name
        if name and name not in seen:
            seen.add(name)
            called += functions[name].node_def
    assert seen


@pytest.mark.slow
def test_graphs_are_saved_once(exported):
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString(pathlib.Path(exported, "saved_model.pb").read_bytes())
    # One function for each combination of the two arguments, and two signatures; none of Keras' functions for each layer.
    assert len(saved.meta_graphs[0].object_graph_def.concrete_functions) == 4 + 2


@pytest.mark.slow
def test_hub_computes_the_same_features_without_this_project(run, exported, tmp_path):
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
    assert_same_maps(found, expected(trained_weights.restore_backbone(str(run))))
    np.testing.assert_array_equal(found["vector"], found["pooled"])
    np.testing.assert_allclose(found["pooled"], found["c5"].mean(axis=(1, 2)), rtol=1e-5)


def test_signatures_return_the_same_features(exported):
    model = tf.saved_model.load(exported)
    maps = model.signatures["feature_maps"](inputs=tf.constant(IMAGES))
    assert set(maps) == {"c2", "c3", "c4", "c5", "pooled"}
    vector = model.signatures["serving_default"](inputs=tf.constant(IMAGES))["pooled"]
    np.testing.assert_allclose(vector, model(IMAGES), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(maps["pooled"], vector, rtol=1e-5, atol=1e-5)


def test_any_batch_and_image_size_is_accepted(exported):
    model = tf.saved_model.load(exported)
    for shape in ((1, 32, 32, 3), (3, 33, 70, 3), (1, 1, 1, 3)):
        maps = model(np.ones(shape, np.float32), return_endpoints=True)
        assert maps["c5"].shape[1:3] == (-(-shape[1] // 32), -(-shape[2] // 32))


# Script that runs a strategy of two replicas, each of which sees different images.
REPLICATED = """
import sys, numpy as np, pixpro_tf, tensorflow as tf
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
images = np.load(sys.argv[2])
with strategy.scope():
    model = pixpro_tf.load_backbone(sys.argv[1], trainable=True)
averages = next(v for v in model.variables if "moving_mean" in v.name)
def step():
    replica = tf.distribute.get_replica_context().replica_id_in_sync_group
    model(tf.gather(images, replica), training=True)
    return tf.identity(averages)
each = strategy.experimental_local_results(tf.function(lambda: strategy.run(step))())
np.savez(sys.argv[3], each=np.stack(each), together=averages.numpy())
"""


@pytest.mark.slow
@pytest.mark.parametrize("where", ["exported", "run"])
def test_running_averages_are_the_mean_over_the_replicas_of_a_consumer(where, request, tmp_path):
    images = np.random.default_rng(3).uniform(size=(2, 2, 32, 32, 3)).astype("f")
    np.save(tmp_path / "images.npy", images)
    handle = request.getfixturevalue(where)
    arguments = [handle, tmp_path / "images.npy", tmp_path / "found.npz"]
    subprocess.run(warm.python("-c", REPLICATED, *arguments), check=True)
    found = np.load(tmp_path / "found.npz")
    assert np.any(found["each"][0] != found["each"][1])
    np.testing.assert_allclose(found["together"], found["each"].mean(axis=0), rtol=1e-6)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_readme_examples_work_under_any_policy(exported, policy):
    tf.keras.mixed_precision.set_global_policy(policy)
    blocks = re.findall(
        r"```python\n(.*?)```", pathlib.Path(exported, "README.md").read_text(), re.S
    )
    names = {"HANDLE": exported, "images": tf.constant(IMAGES)}
    for block in blocks[:2]:
        exec(block, names)
    assert names["vectors"].shape == (2, 512)
    assert names["backbone"](names["images"])["c5"].dtype == tf.float32
    # Another test runs the example for Keras 3 in an environment that has it.
    assert "keras.layers.TFSMLayer(" in blocks[2] and len(blocks) == 3


@pytest.mark.slow
def test_hub_layer_is_trainable(exported):
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
    assert layer.losses == []


def test_card_describes_the_backbone(run, exported):
    card = model_card.read(exported)
    assert card["backbone"] == {
        "architecture": "resnet10",
        "layout": "torchvision",
        "output_stride": 32,
        "channels": {
            "low": [0.0] * 3,
            "high": [255.0] * 3,
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
        },
        # Parameters of a ResNet-18 without its classifier, minus those of its four additional blocks.
        "parameters": 11_176_512 - sum(2 * 9 * c * c + 4 * c for c in (64, 128, 256, 512)),
    }
    assert card["network"] == "online" and card["heads"] == {}
    assert card["outputs"]["c4"] == {"stride": 16, "channels": 256}
    assert card["training"] == {"step": 3, "total_steps": 3}
    assert card["imported"] is None and card["metrics"] is None
    assert card["recipe"]["batch_size"] == 16 and card["recipe"]["gamma"] == 2.0
    assert card["data"]["images"] == 48
    assert card["versions"]["exported_with"]["tensorflow"] == tf.__version__
    assert card["licence"]["code"] == "MIT"


def checksum(variables):
    """Computes the checksum of the card without this project."""
    digest = hashlib.sha256()
    for variable in variables:
        digest.update(variable.numpy().tobytes())
    return digest.hexdigest()


def test_checksum_can_be_computed_without_this_project(exported):
    variables = tf.saved_model.load(exported).variables
    assert model_card.read(exported)["weights"]["sha256"] == checksum(variables)


@pytest.mark.parametrize("entry", ["weights", "backbone"])
def test_card_without_a_required_entry_is_rejected(exported, tmp_path, entry):
    card = model_card.read(exported)
    # Either the whole entry is missing, or one of its keys.
    if entry == "weights":
        del card["weights"]
    else:
        del card["backbone"]["layout"]
    model_card.write(card, str(tmp_path))
    with pytest.raises(RunError, match=rf"model_card\.json is damaged: it lacks {entry}; export"):
        model_card.read(str(tmp_path))


@pytest.mark.parametrize("name", ["saved_model.pb", "fingerprint.pb", "model_card.json"])
def test_a_changed_byte_of_an_export_is_detected(exported, tmp_path, name):
    shutil.copytree(exported, tmp_path / "copy")
    path = tmp_path / "copy" / name
    content = path.read_bytes()
    # The last letter of the licence of the code, and the last byte of other files.
    place = content.rindex(b"MIT") + 2 if name.endswith("json") else len(content) - 1
    path.write_bytes(content[:place] + b"X" + content[place + 1 :])
    for read in (model_card.read, pixpro_tf.load_backbone):
        with pytest.raises(RunError, match=rf"{name} is damaged.*; export the backbone again$"):
            read(str(tmp_path / "copy"))


def test_card_contains_the_last_metrics_and_the_licence(run, tmp_path):
    measured = tmp_path / "run"
    shutil.copytree(run, measured)
    lines = [{"step": step, "loss": -step / 2, "images_per_second": 8.0} for step in (1, 3)]
    (measured / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    flags = [f"--from={measured}", f"--output={tmp_path / 'out'}", "--licence=CC BY 4.0"]
    assert savedmodel_command.main(flags) == 0
    card = model_card.read(str(tmp_path / "out"))
    assert card["metrics"] == lines[1]
    # Not those of a later step than that of the checkpoint, nor of a line that was cut.
    lines.append({"step": 10**6, "loss": 0.0})
    metrics = str(measured / "metrics.jsonl")
    with open(metrics, "w") as file:
        file.write("".join(f"{json.dumps(line)}\n" for line in lines) + '{"step": 2, "lo')
    assert savedmodel._metrics_at(3, metrics) == lines[1]
    assert savedmodel._metrics_at(2, metrics) == lines[0]
    assert savedmodel._metrics_at(0, metrics) is None
    with open(metrics, "ab") as file:
        file.write(b"\xff\n")
    assert savedmodel._metrics_at(3, metrics) == lines[1]
    assert card["licence"]["weights"] == "CC BY 4.0"
    assert "Licence of the weights: CC BY 4.0." in (tmp_path / "out" / "README.md").read_text()


def test_a_run_that_another_program_began_is_described_as_a_run(run, tmp_path):
    further = tmp_path / "run"
    shutil.copytree(run, further)
    description = json.loads((further / "config.json").read_text())
    description["imported"] = {"file": "epoch_10.pth", "kind": "authors", "batches_tracked": 3}
    (further / "config.json").write_text(json.dumps(description))
    flags = [f"--from={further}", f"--output={tmp_path / 'out'}", "--allow_unfinished"]
    assert savedmodel_command.main(flags) == 0
    card = model_card.read(str(tmp_path / "out"))
    assert card["imported"] is None and card["recipe"]["backbone"] and card["data"]["images"]
    assert exporting._batches_tracked(Run.open(str(further))) == 2 * card["training"]["step"]


def test_readme_describes_the_model(exported):
    with open(f"{exported}/README.md") as file:
        text = file.read()
    assert "A resnet10 without its classifier, pre-trained without labels with PixPro" in text
    assert "| `c5` | 32 | 512 |" in text and "c2, c3, c4, c5, pooled" in text
    assert model_card.read(exported)["weights"]["sha256"] in text


@pytest.mark.slow
def test_heads_are_exported_on_request(run, exported_heads):
    loaded = tf.saved_model.load(exported_heads)
    found = loaded(IMAGES, return_endpoints=True)
    model = Run.open(str(run)).load_model()

    @tf.function
    def heads(inputs):
        projected = model.online(normalize(inputs, RGB))["projections"]["pixel"]
        propagated = model.objectives[0](projected)
        return {"projected": projected["c5"], "propagated": propagated["c5"]}

    assert_same_maps(found, heads(tf.constant(IMAGES)), tolerance=1e-5)
    card = model_card.read(exported_heads)
    assert card["heads"]["projector"]["out_channels"] == 16
    assert card["heads"]["propagation"]["gamma"] == 2.0
    assert card["outputs"].keys() >= {"projected", "propagated"}
    assert card["weights"]["sha256"] == checksum(loaded.variables)


@pytest.mark.slow
def test_the_pooled_features_are_convertible_beside_heads(exported_heads):
    """TensorFlow Lite's converter and others do not know the loop of the propagation."""
    serving = tf.saved_model.load(exported_heads).signatures["serving_default"]
    graph = serving.graph.as_graph_def()
    operations = {
        node.op
        for part in (graph, *graph.library.function)
        for node in getattr(part, "node", None) or part.node_def
    }
    assert "Conv2D" in operations
    assert not [name for name in operations if "TensorList" in name or "While" in name]
    np.testing.assert_allclose(
        serving(tf.constant(IMAGES))["pooled"],
        tf.saved_model.load(exported_heads)(IMAGES),
        atol=1e-5,
    )


@pytest.mark.slow
def test_target_network_is_exported_on_request(run, tmp_path):
    output = tmp_path / "target"
    flags = [f"--from={run}", f"--output={output}", "--network=target", "--include_heads"]
    assert savedmodel_command.main(flags) == 0
    found = tf.saved_model.load(str(output))(IMAGES, return_endpoints=True)
    # Only the online network has a propagation.
    assert "projected" in found and "propagated" not in found
    assert_same_maps(found, expected(trained_weights.restore_backbone(str(run), "target")))
    with pytest.raises(RunError, match="contains the target network, not the online network"):
        trained_weights.restore_backbone(str(output), "online")
    assert_same_maps(expected(trained_weights.restore_backbone(str(output))), found_backbone(found))


def test_target_network_is_exported_without_heads(run, tmp_path, monkeypatch):
    exported = []

    def stop_before_saving(backbone, **heads):
        exported.append(backbone)
        raise RunError("enough")

    monkeypatch.setattr("pixpro_tf.export.savedmodel.reusable", stop_before_saving)
    with pytest.raises(RunError, match="enough"):
        savedmodel.export(str(run), str(tmp_path / "target"), network="target")
    assert_same_variables(exported[0], trained_weights.restore_backbone(str(run), "target"))


def found_backbone(found):
    return {name: found[name] for name in ("c2", "c3", "c4", "c5")}


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """Folder of an imported backbone without heads."""
    folder = RunFolder(str(tmp_path_factory.mktemp("imported")))
    parts = {"online": tf.train.Checkpoint(backbone=resnet.build("resnet10"))}
    tf.train.CheckpointManager(
        tf.train.Checkpoint(**parts), folder.checkpoints, 1, checkpoint_name="imported"
    ).save(0)
    origin = {"file": "theirs.pth", "kind": "ResNet", "batches_tracked": 0}
    write_description(Config(backbone="resnet10"), folder, None, imported=origin)
    return folder.path


def test_missing_heads_give_a_one_line_error(imported, tmp_path, capsys):
    flags = [f"--from={imported}", f"--output={tmp_path / 'out'}", "--include_heads"]
    assert savedmodel_command.main(flags) == 1
    error = capsys.readouterr().err
    assert (
        "does not contain the heads that --include_heads exports" in error
        and error.count("\n") == 1
    )
    assert not list(tmp_path.iterdir())


def test_card_of_imported_weights_has_no_recipe(imported, tmp_path):
    assert savedmodel_command.main([f"--from={imported}", f"--output={tmp_path / 'out'}"]) == 0
    card = model_card.read(str(tmp_path / "out"))
    assert card["imported"]["file"] == "theirs.pth"
    assert card["recipe"] is None and card["data"] is None and card["objectives"] is None
    text = (tmp_path / "out" / "README.md").read_text()
    assert "imported from the PyTorch checkpoint `theirs.pth` (ResNet)" in text
    assert "without labels" not in text


@pytest.mark.slow
@pytest.mark.parametrize("trainable", [False, True])
@pytest.mark.parametrize("where", ["exported", "packed", "run"])
def test_load_backbone_returns_a_layer_for_sequential(where, trainable, request, run):
    handle = str(request.getfixturevalue(where))
    layer = pixpro_tf.load_backbone(handle, trainable=trainable)
    model = tf.keras.Sequential([layer, tf.keras.layers.Dense(2)])
    assert model(IMAGES).shape == (2, 2)
    assert len(model.trainable_variables) == (36 if trainable else 0) + 2
    wanted = tf.reduce_mean(expected(trained_weights.restore_backbone(str(run)))["c5"], [1, 2])
    np.testing.assert_allclose(layer(IMAGES), wanted, rtol=1e-5, atol=1e-5)


def test_load_backbone_returns_endpoints_in_any_precision(exported):
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    maps = pixpro_tf.load_backbone(exported, return_endpoints=True)(IMAGES)
    assert set(maps) == {"c2", "c3", "c4", "c5", "pooled"} and maps["c5"].dtype == tf.float32


def test_layer_is_rebuilt_from_its_configuration(exported):
    model = tf.keras.Sequential([pixpro_tf.load_backbone(exported), tf.keras.layers.Dense(2)])
    model.build([None, None, None, 3])
    again = tf.keras.Sequential.from_config(
        model.get_config(), custom_objects={"KerasLayer": hub.KerasLayer}
    )
    again.build([None, None, None, 3])
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again(IMAGES), model(IMAGES))


def test_unknown_handle_gives_a_one_line_error(tmp_path):
    for handle in (str(tmp_path / "nothing"), str(tmp_path), "nofs://bucket/model"):
        with pytest.raises(RunError) as raised:
            pixpro_tf.load_backbone(handle)
        assert handle in str(raised.value) and "\n" not in str(raised.value)


def test_archive_has_the_model_at_its_root_and_no_user_names(packed):
    with tarfile.open(packed) as archive:
        members = archive.getmembers()
    assert {"./saved_model.pb", "./model_card.json"} <= {member.name for member in members}
    assert all(not member.uname and not member.uid for member in members)


@pytest.fixture
def served(packed, tmp_path, monkeypatch):
    """Serves the archive at an address, as a hub does."""
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    handler = functools.partial(QuietHandler, directory=str(packed.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/{packed.name}"
        server.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.mark.slow
def test_address_is_accepted_everywhere(run, served, tmp_path):
    wanted = trained_weights.restore_backbone(str(run))
    assert_same_maps(expected(trained_weights.restore_backbone(served)), expected(wanted))
    assert pixpro_tf.load_backbone(served)(IMAGES).shape == (2, 512)
    assert hub.load(served)(IMAGES).shape == (2, 512)
    model = make_model()
    init_from.initialize_from(model, served)
    assert_same_variables(model.online.backbone, wanted)
    assert len(list((tmp_path / "cache").iterdir())) == 2  # the model, and a file with its source


def assert_same_variables(part_a, part_b):
    for a, b in zip(part_a.variables, part_b.variables, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_run_is_initialised_from_a_savedmodel(run, exported):
    model = make_model()
    line = init_from.initialize_from(model, exported)
    assert line == f"Initialised from {exported}: backbone"
    assert_same_variables(model.online.backbone, trained_weights.restore_backbone(str(run)))
    # Compared by name, because an untrained target network has its variables in a different order.
    kernel = model.target.backbone.stages[3][0].convolutions[1].kernel
    np.testing.assert_array_equal(kernel, model.online.backbone.stages[3][0].convolutions[1].kernel)


@pytest.mark.slow
def test_run_is_initialised_from_heads_that_fit(run, exported_heads):
    source = Run.open(str(run)).load_model()
    model = make_model()
    line = init_from.initialize_from(model, exported_heads)
    assert line.endswith(": backbone, projector, propagation")
    assert_same_variables(model.online.projectors["pixel"], source.online.projectors["pixel"])
    assert_same_variables(model.objectives[0], source.objectives[0])
    other = make_model(projector_dim=8)
    before = [variable.numpy() for variable in other.online.projectors["pixel"].variables]
    assert init_from.initialize_from(other, exported_heads).endswith(": backbone")
    for a, b in zip(before, other.online.projectors["pixel"].variables, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_run_with_another_layout_or_backbone_is_rejected(exported):
    with pytest.raises(RunError, match=r"has the layout torchvision .* --backbone_layout=torchv"):
        init_from.initialize_from(make_model(backbone_layout="od_api"), exported)
    with pytest.raises(RunError, match="is not a resnet18; use --backbone=resnet10"):
        init_from.initialize_from(make_model("resnet18"), exported)


def assert_exported_in_float32(run, output):
    flags = [f"--from={run}", f"--output={output}", "--include_heads", "--allow_unfinished"]
    assert savedmodel_command.main(flags) == 0
    model = tf.saved_model.load(str(output))
    assert {variable.dtype for variable in model.variables} == {tf.float32}
    found = model(IMAGES, return_endpoints=True)
    assert {features.dtype for features in found.values()} == {tf.float32}
    assert_same_maps(found, expected(trained_weights.restore_backbone(str(run))))


@pytest.mark.slow
def test_weights_of_a_half_precision_run_are_exported_in_float32(tmp_path):
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    run = make_run(tmp_path / "run", backbone="resnet10w0.5", precision="bfloat16")
    tf.keras.mixed_precision.set_global_policy("float32")
    assert_exported_in_float32(run, tmp_path / "out")


@pytest.mark.thorough
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_run_is_exported_in_float32(train, tiny_flags, precision, tmp_path):
    run = tmp_path / "run"
    train(*tiny_flags, f"--run_dir={run}", f"--precision={precision}", "--max_steps=2")
    assert_exported_in_float32(run, tmp_path / "out")


def striped(count, seed):
    """Returns images of vertical or horizontal stripes of random width, phase and colour; the direction is the label."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    place = np.arange(64) * rng.uniform(0.3, 1.0, (count, 1)) + rng.uniform(0, 6, (count, 1))
    waves = np.repeat(np.sin(place)[:, np.newaxis], 64, axis=1)
    waves[labels == 1] = waves[labels == 1].transpose(0, 2, 1)
    colours = rng.uniform(0.1, 0.4, (count, 1, 1, 3))
    images = 0.5 + colours * waves[..., np.newaxis] + rng.normal(0, 0.05, (count, 64, 64, 3))
    return np.clip(images, 0, 1).astype(np.float32), labels


@pytest.mark.slow
@pytest.mark.parametrize("trainable", [False, True], ids=["frozen", "unfrozen"])
def test_one_epoch_of_fine_tuning_with_the_hub_layer_learns(exported, trainable):
    tf.keras.utils.set_random_seed(0)
    layers = [tf.keras.layers.BatchNormalization()]
    # A new head takes larger steps than the pre-trained weights do.
    rate = 1e-3 if trainable else 3e-2
    model = tf.keras.Sequential(
        [hub.KerasLayer(exported, trainable=trainable), *layers, tf.keras.layers.Dense(2)]
    )
    model.compile(
        optimizer=tf.keras.optimizers.Adam(rate),
        loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    images, labels = striped(256, seed=0)
    held_out = striped(128, seed=1)
    before = [variable.numpy() for variable in model.layers[0].variables]
    model.fit(images, labels, batch_size=16, epochs=1, verbose=0)
    moved = [np.any(a != b) for a, b in zip(before, model.layers[0].variables, strict=True)]
    assert all(moved) if trainable else not any(moved)
    # Statistics of the batch: after one epoch, the head's running averages are still far from its features, which is not tested here.
    logits = model(held_out[0], training=True)
    accuracy = np.mean(np.argmax(logits, axis=-1) == held_out[1])
    assert accuracy > 0.9


@pytest.mark.thorough
def test_current_tensorflow_with_keras_3_loads_and_fine_tunes_the_model(run, exported, consume):
    images, labels = striped(16, seed=0)
    found = consume(
        "keras3",
        exported,
        images=images,
        labels=labels,
        **expected(trained_weights.restore_backbone(str(run)), images),
    )
    assert found["keras"].startswith("3.") and found["tensorflow"] == "2.21.0"
    assert not found["project_imported"]
    assert set(found["feature_errors"]) == {"c2", "c3", "c4", "c5"}
    assert max(found["feature_errors"].values()) < 1e-5
    assert found["trained"] == 38 and found["averages_moved"] == 12
    assert found["losses"][-1] < 0.5 * found["losses"][0]
    assert found["layer_error"] < 1e-4 and found["layer_trained"] == 36


@pytest.fixture(scope="module")
def run_with_neck(tmp_path_factory):
    neck = {"pixel_levels": "p3,p5", "fpn_channels": 8, "dense_head_layers": 1}
    return make_run(tmp_path_factory.mktemp("neck"), backbone="resnet10", **neck)


@pytest.fixture(scope="module")
def exported_neck(run_with_neck, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported_neck") / "detector"
    assert (
        savedmodel_command.main(
            [f"--from={run_with_neck}", f"--output={folder}", "--include_heads"]
        )
        == 0
    )
    return str(folder)


@pytest.mark.slow
def test_neck_and_the_heads_of_its_levels_are_exported_with_the_backbone(
    run_with_neck, exported_neck
):
    found = tf.saved_model.load(exported_neck)(IMAGES, return_endpoints=True)
    model = Run.open(str(run_with_neck)).load_model()
    maps = tf.function(lambda inputs: model.online.backbone(normalize(inputs, RGB)))(IMAGES)
    pyramid = model.online.neck(maps)
    projected = model.online.projectors["pixel"](
        {level: pyramid[f"head_{level}"] for level in ("p3", "p5")}
    )
    propagated = model.objectives[0](projected)
    wanted = dict(maps) | pyramid
    for level in ("p3", "p5"):
        wanted |= {
            f"projected_{level}": projected[level],
            f"propagated_{level}": propagated[level],
        }
    assert set(found) == wanted.keys() | {"pooled"}
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=1e-3, err_msg=name)
    card = model_card.read(exported_neck)
    assert set(card["outputs"]) == set(found)
    assert card["outputs"]["head_p3"] == {"stride": 8, "channels": 8}
    with open(f"{exported_neck}/README.md") as file:
        assert "| `p3` | 8 | 8 |" in file.read()


@pytest.mark.slow
def test_run_is_initialised_from_a_neck_too(run_with_neck, exported_neck):
    source = Run.open(str(run_with_neck)).load_model()
    flags = {"pixel_levels": "p3,p5", "fpn_channels": 8, "dense_head_layers": 1}
    for handle, said in (
        (exported_neck, "backbone, neck, projector, propagation"),
        (str(run_with_neck), "backbone, neck, pixel projector, pixel predictor"),
    ):
        model = make_model(**flags)
        assert init_from.initialize_from(model, handle).endswith(said)
        assert_same_variables(model.online.neck, source.online.neck)
        assert_same_variables(model.online.projectors["pixel"], source.online.projectors["pixel"])
    other = make_model(pixel_levels="p3,p4,p5", fpn_channels=8)
    assert init_from.initialize_from(other, exported_neck).endswith(": backbone")


@pytest.mark.slow
def test_neck_is_part_of_the_loaded_layer(run_with_neck, exported_neck):
    for handle in (exported_neck, str(run_with_neck)):
        maps = pixpro_tf.load_backbone(handle, return_endpoints=True)(IMAGES)
        assert maps["p3"].shape[-1] == 8 and maps["head_p5"].shape[-1] == 8
