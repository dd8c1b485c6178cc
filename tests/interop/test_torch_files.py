"""Import and export of PyTorch files: each kind of file, each error, and a run of the authors' code that is resumed here."""

import argparse
import collections
import dataclasses
import json
import multiprocessing
import os
import re
import subprocess
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from pixpro_tf import build
from pixpro_tf.backbones import resnet
from pixpro_tf.errors import ConfigError, RunError
from pixpro_tf.export import torch as export_torch
from pixpro_tf.interop import torch as names
from pixpro_tf.interop.torch import files
from pixpro_tf.interop.torch.__main__ import main
from pixpro_tf.storage import trained_weights
from pixpro_tf.storage.checkpoints import CheckpointStore
from pixpro_tf.storage.run_folder import RunFolder, find_run_folder, read_config, read_description
from pixpro_tf.storage.runs import Run
from tests.conftest import ROOT
from tests.support import warm
from tests.support.models import OTHER_MEAN, make_run

torch = pytest.importorskip("torch")

from pixpro_tf.pretrained.recognition import architecture_of, recognise  # noqa: E402
from tests.support import reference_torch as reference  # noqa: E402
from tests.support.runs import cost_of  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def warm_reader():
    """Imports PyTorch in advance in the processes that read files; the cost of the commands is measured without this."""
    multiprocessing.set_forkserver_preload(["torch", "pixpro_tf.interop.torch.files"])
    started = multiprocessing.get_context("forkserver")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(multiprocessing, "get_context", lambda kind: started)
        yield


HEADS = {"hidden": 24, "dim": 16}
SETTINGS = {
    "backbone": "resnet10",
    "output_stride": 16,
    "ppm_layers": 1,
    "gamma": 2.0,
    "positive_threshold": 0.7,
    "instance_weight": 0.0,
}


def pixpro_model(**settings):
    torch.manual_seed(0)
    model = reference.PixPro(**(SETTINGS | HEADS | settings))
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.0)
        else:
            tensor.fill_(6)
    return model


def with_prefix(state, prefix):
    return collections.OrderedDict((prefix + name, tensor) for name, tensor in state.items())


def save(content, path):
    torch.save(content, path)
    return path


def run(*flags):
    """Runs the command in this process and returns its exit code."""
    return main([str(flag) for flag in flags])


def import_file(path, output, *flags):
    assert run("import", f"--checkpoint={path}", f"--output={output}", *flags) == 0
    return output


def assert_state(model, state):
    found = names.state_dict(model)
    for name, array in found.items():
        np.testing.assert_array_equal(array, state[name].numpy(), err_msg=name)


@pytest.mark.slow
# The authors write the prefix `module.`; published files may lack the prefix and everything except the weights.
@pytest.mark.parametrize("prefix", ["module.", ""])
@pytest.mark.parametrize("published", [False, True])
def test_all_weights_of_a_pixpro_checkpoint_are_imported(tmp_path, capsys, prefix, published):
    state = pixpro_model().state_dict()
    content = {"model": with_prefix(state, prefix)}
    if not published:
        content |= {"opt": argparse.Namespace(pixpro_p=1.0, arch="resnet10_16s"), "epoch": 100}
    path = save(content, tmp_path / "pixpro.pth")
    flags = ["--output_stride=16"] if published else []
    output = import_file(path, tmp_path / "imported", *flags)
    assert "arrays of a resnet10 (PixPro) to " in capsys.readouterr().out
    run = Run.open(str(output))
    model, config = run.load_model(), run.config
    assert_state(model, state)
    assert config.gamma == (2.0 if published else 1.0)
    assert (config.output_stride, config.ppm_layers) == (16, 1)
    assert (config.projector_hidden, config.projector_dim) == (24, 16)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [{"ppm_layers": 0}, {"ppm_layers": 2}, {"instance_weight": 1.0}, {"backbone": "resnet18d"}],
    ids=str,
)
def test_heads_and_backbone_are_recognised_by_their_shapes(tmp_path, settings):
    state = pixpro_model(**settings).state_dict()
    path = save({"model": with_prefix(state, "module.")}, tmp_path / "pixpro.pth")
    output = import_file(path, tmp_path / "imported", "--output_stride=16")
    run = Run.open(str(output))
    model, config = run.load_model(), run.config
    assert_state(model, state)
    assert settings.items() <= config.to_dict().items()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ResNet", "MoCo", "MMLab"])
def test_backbones_of_other_projects_are_recognised_by_their_names(tmp_path, capsys, kind):
    state = reference.resnet("resnet10").state_dict()
    other = {name: tensor + 1 for name, tensor in state.items()}
    classifier = {"fc.weight": torch.zeros(10, 512), "fc.bias": torch.zeros(10)}
    content = {
        "ResNet": state | classifier,
        "MoCo": {
            "state_dict": with_prefix(state | classifier, "module.encoder_q.")
            | with_prefix(other, "module.encoder_k.")
            | {"module.queue": torch.zeros(4, 4)}
        },
        "MMLab": {"state_dict": with_prefix(state, "backbone."), "meta": {}},
    }[kind]
    output = import_file(save(content, tmp_path / "other.pth"), tmp_path / "imported")
    printed = capsys.readouterr().out
    assert f"arrays of a resnet10 ({kind}) to " in printed
    assert ("fc.weight" in printed) == (kind != "MMLab")
    backbone = trained_weights.restore_backbone(str(output))
    assert_state(backbone, state)
    target = trained_weights.restore_backbone(str(output), "target")
    assert_state(target, other if kind == "MoCo" else state)


@pytest.mark.slow
def test_half_precision_and_the_old_file_format_are_read(tmp_path):
    state = reference.resnet("resnet10").state_dict()
    half = {name: tensor.bfloat16() for name, tensor in state.items()}
    torch.save(half, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    output = import_file(tmp_path / "old.pth", tmp_path / "imported")
    backbone = trained_weights.restore_backbone(str(output))
    assert_state(backbone, {name: tensor.float() for name, tensor in half.items()})


@pytest.mark.parametrize("name", resnet.ARCHITECTURES)
def test_each_architecture_is_recognised_by_its_shapes(name):
    with torch.device("meta"):
        state = reference.resnet(name).state_dict()
    assert architecture_of(state) == name
    assert recognise(with_prefix(state, "encoder_q.")).backbone == name


LARGE = ("resnet101", "resnet152", "resnet101d", "resnet152d", "resnet50w2", "resnext")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.thorough if name.startswith(LARGE) else ())
        for name in resnet.ARCHITECTURES
    ],
)
def test_round_trip_of_each_architecture_is_bit_identical(name):
    state = {
        name: tensor.numpy()
        for name, tensor in reference.resnet(name).state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    backbone = resnet.build(name)
    assert sorted(names.load_state_dict(backbone, state)) == sorted(state)
    back = names.state_dict(backbone)
    assert back.keys() == state.keys()
    for key, array in state.items():
        np.testing.assert_array_equal(back[key], array, err_msg=key)


@pytest.mark.slow
def test_round_trip_of_a_file_is_bit_identical_and_loads_strictly(tmp_path):
    model = pixpro_model(instance_weight=1.0, ppm_layers=2)
    state = with_prefix(model.state_dict(), "module.")
    path = save({"model": state, "epoch": 1}, tmp_path / "pixpro.pth")
    output = import_file(path, tmp_path / "imported", "--output_stride=16")
    assert run("export", f"--from={output}", f"--output={tmp_path / 'back.pth'}") == 0
    back = torch.load(tmp_path / "back.pth", weights_only=True)["model"]
    assert back.keys() == state.keys()
    for name, tensor in state.items():
        assert back[name].dtype == tensor.dtype
        assert torch.equal(back[name], tensor), name
    stripped = {name.removeprefix("module."): tensor for name, tensor in back.items()}
    model.load_state_dict(stripped, strict=True)


@pytest.mark.slow
@pytest.mark.parametrize("networks", [1, 2])
def test_round_trip_of_a_backbone_file_is_bit_identical(tmp_path, networks):
    state = reference.resnet("resnet10").state_dict()
    content = with_prefix(state, "encoder.")
    if networks == 2:
        content |= with_prefix({name: tensor + 1 for name, tensor in state.items()}, "encoder_k.")
    output = import_file(save(content, tmp_path / "backbone.pth"), tmp_path / "imported")
    assert run("export", f"--from={output}", f"--output={tmp_path / 'back.pth'}") == 0
    back = torch.load(tmp_path / "back.pth", weights_only=True)["model"]
    counted = {name: t for name, t in content.items() if not name.endswith("tracked")}
    assert {name.removeprefix("module.") for name in back} == content.keys()
    for name, tensor in counted.items():
        assert torch.equal(back[f"module.{name}"], tensor), name


@pytest.mark.slow
def test_run_is_exported_with_its_step(whole_run, tmp_path):
    assert run("export", f"--from={whole_run[0]}", f"--output={tmp_path / 'run.pth'}") == 0
    state = torch.load(tmp_path / "run.pth", weights_only=True)["model"]
    model = Run.open(str(whole_run[0])).load_model()
    assert_state(model, {name.removeprefix("module."): tensor for name, tensor in state.items()})
    assert state["module.encoder.bn1.num_batches_tracked"] == 120


@pytest.mark.slow
def test_another_mean_and_deviation_are_folded_into_both_networks(tmp_path):
    """The authors' code subtracts ImageNet's mean from RGB in [0, 1] and divides by its standard deviation."""
    folder = make_run(tmp_path / "run", backbone="resnet10", **OTHER_MEAN)
    assert run("export", f"--from={folder}", f"--output={tmp_path / 'run.pth'}") == 0
    state = torch.load(tmp_path / "run.pth", weights_only=True)["model"]
    image = np.random.default_rng(0).uniform(size=[1, 32, 32, 3])

    def normalised(mean, std):
        return ((image - mean) / std).astype(np.float32)

    theirs = torch.from_numpy(normalised((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    for network, prefix in (("online", "encoder"), ("target", "encoder_k")):
        weights = {name.removeprefix(f"module.{prefix}."): tensor for name, tensor in state.items()}
        convolved = torch.nn.functional.conv2d(
            theirs.permute(0, 3, 1, 2), weights["conv1.weight"], stride=2
        )
        norm = [
            weights[f"bn1.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        ]
        found = torch.nn.functional.batch_norm(convolved, *norm).permute(0, 2, 3, 1).numpy()
        backbone = trained_weights.restore_backbone(str(folder), network)
        ours = normalised(*OTHER_MEAN.values())
        kernel, norm = backbone.stem[0].kernel, backbone.stem[1]
        expected = norm(tf.nn.conv2d(ours, kernel, 2, "VALID")).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["timm", "MMLab"])
def test_stems_of_three_convolutions_are_read_by_the_names_of_others(tmp_path, capsys, kind):
    folder = make_run(tmp_path / "run", backbone="resnet18d")
    export_torch.export(str(folder), str(tmp_path / "timm.pth"))
    state = torch.load(tmp_path / "timm.pth", weights_only=True)
    assert "conv1.0.weight" in state
    if kind == "MMLab":
        stem = {"bn1": "stem.7", "conv1": "stem"}
        state = {
            "backbone." + re.sub("^(bn1|conv1)", lambda found: stem[found[1]], name): tensor
            for name, tensor in state.items()
        }
        assert "backbone.stem.0.weight" in state
    output = import_file(save(state, tmp_path / "other.pth"), tmp_path / "imported")
    found, wanted = (
        names.state_dict(trained_weights.restore_backbone(str(path))) for path in (output, folder)
    )
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
    said = "Images are assumed to be RGB, normalised with ImageNet's mean and standard deviation"
    assert (said in capsys.readouterr().out) == (kind == "timm")


@pytest.mark.slow
def test_an_unfinished_run_is_exported_only_on_request(tmp_path, capsys):
    folder = make_run(tmp_path / "run", finished=False, backbone="resnet10")
    flags = ["export", f"--from={folder}", f"--output={tmp_path / 'run.pth'}"]
    assert run(*flags) == 1
    assert "has completed 3 of its 6 steps" in capsys.readouterr().err
    assert not (tmp_path / "run.pth").exists()
    assert run(*flags, "--allow_unfinished") == 0


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def bad_file(kind, folder):
    path = folder / f"{kind}.pth"
    state = reference.resnet("resnet10").state_dict()
    if kind == "empty":
        path.touch()
    elif kind == "truncated":
        save(state, path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif kind == "text":
        path.write_text("These are not weights.")
    elif kind == "bomb":
        save({"model": state, "more": Bomb(folder / "exploded")}, path)
    elif kind == "nan":
        state["layer2.0.conv1.weight"][0, 0, 0, 0] = float("nan")
        save(state, path)
    elif kind == "architecture":
        state["layer1.0.conv2.weight"] = torch.zeros(128, 64, 3, 3)
        save(state, path)
    elif kind == "shapes":
        state["layer4.0.bn2.bias"] = torch.zeros(3)
        save(state, path)
    elif kind == "names":
        del state["layer3.0.bn1.weight"]
        save(state, path)
    elif kind == "attention":
        state["layer1.0.se.fc1.weight"] = torch.zeros(4, 64, 1, 1)
        save(state, path)
    elif kind == "no weights":
        save({"model": {"epoch": 3}}, path)
    elif kind == "nested":
        depth = 100_000
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a/data.pkl", b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b".")
            archive.writestr("a/version", "3\n")
    elif kind == "expanded":
        state["layer1.0.conv2.weight"] = torch.zeros(1).expand(10**5, 10**5)
        save(state, path)
    elif kind == "flipped":
        save(state, path)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif kind == "no resnet":
        save({"blocks.0.attn.qkv.weight": torch.zeros(3, 3)}, path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("missing", "is not an existing file"),
        ("empty", "is empty"),
        ("truncated", "cannot be read: it is truncated or not a PyTorch file"),
        ("nested", "its objects are nested too deeply"),
        ("expanded", "layer1.0.conv2.weight cannot be read: it has more values than the file"),
        ("flipped", "the checksum of flipped/data/"),
        ("text", "cannot be read: it is truncated or not a PyTorch file"),
        ("bomb", "is rejected because loading it would execute posix.mkdir"),
        ("nan", "not finite: layer2.0.conv1.weight"),
        ("architecture", "contains an unknown ResNet"),
        ("shapes", "layer4.0.bn2.bias is [3] instead of [512]"),
        ("names", "missing weights: layer3.0.bn1.weight"),
        ("attention", "contains layer1.0.se.fc1.weight, which a resnet10 does not have"),
        ("no weights", "does not contain weights"),
        ("no resnet", "blocks.0.attn.qkv.weight"),
    ],
)
def test_bad_file_gives_a_one_line_error_and_leaves_no_output(tmp_path, capsys, kind, said):
    (tmp_path / "files").mkdir()
    path = bad_file(kind, tmp_path / "files")
    assert run("import", f"--checkpoint={path}", f"--output={tmp_path / 'out' / 'run'}") == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: --checkpoint={path}") and said in error
    assert error.count("\n") == 1 and len(error) < 1000
    assert not (tmp_path / "files" / "exploded").exists()
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


@pytest.mark.slow
def test_existing_output_is_kept_without_overwrite(tmp_path, capsys):
    path = save(reference.resnet("resnet10").state_dict(), tmp_path / "resnet.pth")
    output = tmp_path / "imported"
    output.mkdir()
    (output / "mine.txt").touch()
    assert run("import", f"--checkpoint={path}", f"--output={output}") == 2
    assert "already exists; use another path, or add --overwrite" in capsys.readouterr().err
    assert [entry.name for entry in output.iterdir()] == ["mine.txt"]
    import_file(path, output, "--overwrite")
    assert not (output / "mine.txt").exists()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["imported", "resnet.pth"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["import", "--checkpoint=a.pth"], "--output"),
        (["import", "--checkpoint=a.pth", "--output=b", "--output_stride=7"], "8, 16, 32"),
        (["convert"], "has no command 'convert'"),
        ([], "one of import, export"),
        (["export", "--from=nowhere", "--output=x.pth"], "nowhere does not exist"),
    ],
)
def test_invalid_command_line_gives_a_one_line_error(flags, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*flags) in (1, 2)
    error = capsys.readouterr().err
    assert error.startswith("error: ") and said in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_numbers_of_numpy_are_read(tmp_path):
    path = tmp_path / "scores.pth"
    scores = {"best": np.float64(71.5), "epoch": np.int64(3), "loss": np.float32(0.5)}
    save({"model": reference.resnet("resnet10").state_dict(), "scores": scores}, path)
    assert files.read(str(path)).content["scores"] == scores


def test_lists_that_contain_each_other_many_times_are_read_once(tmp_path):
    value = [1.0]
    for _ in range(100):
        value = [value, value]
    save({"model": reference.resnet("resnet10").state_dict(), "value": value}, tmp_path / "a.pth")
    assert len(files.read(str(tmp_path / "a.pth")).content["value"]) == 2


def test_pytorch_that_executes_code_is_rejected(monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", lambda name: "2.5.1+cpu")
    with pytest.raises(RunError, match=r"PyTorch 2\.5\.1\+cpu can execute code .*torch>=2\.6"):
        files.require_torch()


def test_missing_pytorch_is_reported(tmp_path):
    path = save(reference.resnet("resnet10").state_dict(), tmp_path / "resnet.pth")
    hidden = (
        "import importlib.util, sys; find = importlib.util.find_spec; "
        "importlib.util.find_spec = lambda name: None if name == 'torch' else find(name); "
        "from pixpro_tf.interop.torch.__main__ import main; "
    )
    flags = ["import", f"--checkpoint={path}", f"--output={tmp_path / 'out'}"]
    process = subprocess.run(
        warm.python("-c", hidden + f"sys.exit(main({flags}))"),
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 1
    (line,) = process.stderr.splitlines()
    assert "PyTorch is required" in line and "pip install torch" in line


@pytest.mark.slow
def test_imported_weights_initialise_a_run_but_cannot_be_resumed(train, tiny_flags, tmp_path):
    state = reference.resnet("resnet10w0.5").state_dict()
    output = import_file(save(state, tmp_path / "resnet.pth"), tmp_path / "imported")
    refused = train(*tiny_flags, f"--run_dir={output}", check=False)
    assert refused.returncode == 2
    assert "contains weights only and cannot be resumed" in refused.stderr
    process = train(
        *tiny_flags, f"--run_dir={tmp_path / 'run'}", f"--init_from={output}", "--max_steps=1"
    )
    assert f"Initialised from {output}: backbone\n" in process.stdout


def batch(seed):
    rng = np.random.default_rng(seed)
    corner, size = rng.uniform(0, 0.3, (2, 4, 2)), rng.uniform(0.5, 0.7, (2, 4, 2))
    boxes = np.concatenate([corner, corner + size], axis=-1).astype(np.float32)
    views = rng.standard_normal((2, 4, 3, 64, 64)).astype(np.float32)
    return views[0], views[1], boxes[0], boxes[1]


def authors_run(optimizer_name):
    """Returns a run of the authors' code as saved after its first epoch of two steps, and a function for the third step."""
    torch.manual_seed(1)
    model = reference.PixPro(**(SETTINGS | HEADS)).train()
    model.encoder_k.load_state_dict(model.encoder.state_dict())
    model.projector_k.load_state_dict(model.projector.state_dict())
    trained_ones = [weight for weight in model.parameters() if weight.requires_grad]
    peak = 4 / 256
    if optimizer_name == "lars":
        groups = [
            {"params": [weight for weight in trained_ones if weight.ndim == 1]},
            {"params": [weight for weight in trained_ones if weight.ndim > 1]},
        ]
        sgd = torch.optim.SGD(groups, lr=peak, momentum=0.9)
    else:
        sgd = torch.optim.SGD(model.parameters(), lr=peak, momentum=0.9, weight_decay=1e-4)
    for group in sgd.param_groups:
        group["initial_lr"] = peak

    def step(number, rate):
        model.follow(reference.ema_momentum(number, 6, 0.99))
        loss = model.loss(*map(torch.from_numpy, batch(number)))
        sgd.zero_grad()
        loss.backward()
        if optimizer_name == "lars":
            reference.adapt_gradients(trained_ones, 1e-5, 0.001)
        for group in sgd.param_groups:
            group["lr"] = rate
        sgd.step()
        return loss.item()

    for number in range(2):
        step(number, 0.01)
    options = argparse.Namespace(
        **{"arch": "resnet10_16s", "image_size": 64, "crop": 0.08, "aug": "BYOL", "epochs": 3},
        **{"base_learning_rate": 1.0, "batch_size": 2, "lr_scheduler": "cosine"},
        **{"warmup_epoch": 0, "warmup_multiplier": 100, "optimizer": optimizer_name},
        **{"weight_decay": 1e-5 if optimizer_name == "lars" else 1e-4, "momentum": 0.9},
        **{"amp_opt_level": "O0", "num_instances": 9, "pixpro_p": 2.0, "pixpro_momentum": 0.99},
        **{"pixpro_pos_ratio": 0.7, "pixpro_ins_loss_weight": 0.0, "pixpro_clamp_value": 0.0},
    )
    content = {
        "opt": options,
        "model": with_prefix(model.state_dict(), "module."),
        "optimizer": sgd.state_dict(),
        "scheduler": {"last_epoch": 2},
        "epoch": 1,
    }
    return model, content, step


@pytest.mark.slow
@pytest.mark.parametrize("optimizer_name", ["lars", "sgd"])
def test_run_of_the_authors_code_is_resumed(tmp_path, capsys, optimizer_name):
    torch_model, content, torch_step = authors_run(optimizer_name)
    path = save(content, tmp_path / "ckpt_epoch_1.pth")
    output = import_file(path, tmp_path / "imported", "--resume_training")
    printed = capsys.readouterr().out
    assert "Resume the run from step 2" in printed and "--batch_size=4" in printed

    folder = RunFolder(str(output))
    assert read_description(folder)["num_images"] == 9
    config = read_config(folder)
    # The file does not say where the images are.
    elsewhere = dataclasses.replace(config, dataset="folder:images", run_dir=str(output))
    find_run_folder(elsewhere)
    with pytest.raises(ConfigError, match="contains a run with different flags: --gamma"):
        find_run_folder(dataclasses.replace(elsewhere, gamma=3.0))
    rate = build.build_schedule(config, steps_per_epoch=2)
    model = build.build_compiled_model(config, rate, total_steps=6)
    assert CheckpointStore(folder.checkpoints, model).restore() == 2
    assert_state(model, torch_model.state_dict())

    view_1, view_2, box_1, box_2 = batch(2)
    ours = tf.function(model.train_step)(
        {
            "view_1": tf.constant(view_1.transpose(0, 2, 3, 1)),
            "view_2": tf.constant(view_2.transpose(0, 2, 3, 1)),
            "box_1": tf.constant(box_1),
            "box_2": tf.constant(box_2),
        }
    )
    before = {name: tensor.clone() for name, tensor in torch_model.state_dict().items()}
    loss = torch_step(2, float(rate(2)))
    assert float(ours["loss"]) == pytest.approx(loss, abs=1e-5)
    found = names.state_dict(model)
    for name, tensor in torch_model.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        change = torch.linalg.norm(tensor - before[name]).item()
        error = np.linalg.norm(found[name] - tensor.numpy())
        # Without the momentum of the first two steps, half of the change would be missing; float32 gradients are accurate to 1 %.
        assert error <= 1e-2 * change + 1e-6 * np.linalg.norm(found[name]), name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda content: content.pop("optimizer"), "which this file does not contain"),
        (lambda content: content.pop("scheduler"), "which this file does not contain"),
        (
            lambda content: vars(content["opt"]).pop("num_instances"),
            "which this file does not contain",
        ),
        (
            lambda content: content["scheduler"].update(last_epoch=7),
            "step 7 and epoch 1 of the file do not match",
        ),
        (lambda content: vars(content["opt"]).update(warmup_multiplier=10), "warmup_multiplier=10"),
        (
            lambda content: content["optimizer"]["state"].pop(3),
            "does not contain a momentum that fits",
        ),
        (lambda content: content["optimizer"]["param_groups"].pop(), "parameters instead of"),
    ],
)
def test_run_that_cannot_be_resumed_is_rejected(tmp_path, capsys, change, said):
    _, content, _ = authors_run("lars")
    change(content)
    path = save(content, tmp_path / "run.pth")
    output = tmp_path / "out"
    assert run("import", f"--checkpoint={path}", f"--output={output}", "--resume_training") in (
        1,
        2,
    )
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.pth"]


@pytest.mark.slow
def test_import_is_described_in_the_config(tmp_path):
    content = {"model": with_prefix(pixpro_model().state_dict(), "module."), "epoch": 100}
    output = import_file(save(content, tmp_path / "theirs.pth"), tmp_path / "imported")
    description = json.loads((output / "config.json").read_text())
    assert description["imported"] == {
        "file": "theirs.pth",
        "kind": "PixPro",
        "batches_tracked": 6,
        "epoch": 100,
    }


@pytest.mark.slow
@pytest.mark.thorough
def test_resnet50_is_converted_within_seconds_and_a_gigabyte(tmp_path):
    state = reference.resnet("resnet50").state_dict()
    path = save(state | {"fc.weight": torch.zeros(1000, 2048)}, tmp_path / "resnet50.pth")
    assert path.stat().st_size > 100e6
    flags = ["import", f"--checkpoint={path}", f"--output={tmp_path / 'imported'}"]
    seconds, size = cost_of("pixpro_tf.interop.torch", *flags)
    assert size < 1e9
    # CPU seconds: it takes less wall time on an idle machine, but tests share the machine.
    assert seconds < 20


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({"backbone_layout": "od_api"}, "--backbone_layout=od_api"),
        ({"backbone_layout": "mirror"}, "--backbone_layout=mirror"),
        ({"projector_final_norm": True}, "--projector_final_norm=True"),
        ({"projector_layers": 3}, "--projector_layers=3"),
        ({"ppm_layers": 3}, "--ppm_layers=3"),
        ({"output_stride": 8}, "--output_stride=8"),
        (
            {"pixel_levels": "c4,c5", "shared_projector": False, "output_stride": 16},
            "--pixel_levels=c4,c5",
        ),
        (
            {"dataset": "folder:tiles", "channel_high": (4095.0,) * 3},
            "another range than 8 bits (--channel_low, --channel_high)",
        ),
    ],
)
def test_network_that_the_authors_code_does_not_support_is_not_exported(
    tmp_path, capsys, flags, named
):
    make_run(tmp_path / "run", **flags)
    output = tmp_path / "out.pth"
    assert run("export", f"--from={tmp_path / 'run'}", f"--output={output}") != 0
    assert named in capsys.readouterr().err and not output.exists()


@pytest.mark.parametrize(
    ("options", "flags", "said"),
    [
        ({"optimizer": "adam"}, [], "has options that are not supported: --optimizer=adam"),
        ({"epochs": "many"}, [], "has options that are not supported: "),
        ({"base_learning_rate": None}, [], "has options that are not supported: "),
        ({}, ["--gamma=-1"], "--gamma=-1"),
    ],
)
def test_unsupported_options_of_a_file_are_not_blamed_on_flags(
    tmp_path, capsys, options, flags, said
):
    state = reference.resnet("resnet10w0.5").state_dict()
    path = save({"model": state, "opt": argparse.Namespace(**options)}, tmp_path / "file.pth")
    assert run("import", f"--checkpoint={path}", f"--output={tmp_path / 'out'}", *flags)
    error = capsys.readouterr().err
    if options:
        said = f"--checkpoint={path} {said}"
    assert error.startswith(f"error: {said}") and error.count("\n") == 1
    assert not (tmp_path / "out").exists()
