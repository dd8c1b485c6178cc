"""Public interface of `import pixpro_tf`, and pre-training with one function call."""

import ast
import inspect
import json
import subprocess

import pytest

import pixpro_tf
from pixpro_tf import pretraining
from tests.conftest import ROOT
from tests.support import warm

FUNCTIONS = [name for name in pixpro_tf.__all__ if name != "__version__"]


def test_dir_lists_the_public_names():
    assert sorted(dir(pixpro_tf)) == sorted(pixpro_tf.__all__)
    assert set(pixpro_tf._MODULES) == set(FUNCTIONS)


def test_type_checkers_see_the_same_names():
    tree = ast.parse((ROOT / "pixpro_tf" / "__init__.py").read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    assert seen == {name: f"pixpro_tf.{path}" for name, path in pixpro_tf._MODULES.items()}


def test_unknown_name_raises_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'PixPros'"):
        _ = pixpro_tf.PixPros


@pytest.mark.parametrize("name", FUNCTIONS)
def test_public_name_is_documented(name):
    found = getattr(pixpro_tf, name)
    assert found.__name__ == name and inspect.getdoc(found)


CODE = """
import json, sys
import pixpro_tf
import tensorflow as tf

photos, folder = sys.argv[1:]
with open(f"{folder}/small.flags", "w") as file:
    file.write("--epochs=1\\n--warmup_epochs=0\\n--steps_per_epoch=5\\n--pictures_every=1000\\n")
small = dict(backbone="resnet10w0.5", image_size=32, output_stride=16, projector_hidden=16, projector_dim=8, batch_size=8)
run = pixpro_tf.pretrain(f"folder:{photos}", f"{folder}/run", flagfile=f"{folder}/small.flags", steps_per_epoch=2, **small)
run.export_savedmodel(f"{folder}/exported")
images = tf.random.uniform([2, 32, 32, 3])
ours = run.backbone()(images)
exported = pixpro_tf.load_backbone(f"{folder}/exported")(images)

config = pixpro_tf.Config(dataset=f"folder:{photos}", augmentation="none", **small)
model = pixpro_tf.build_model(config, total_steps=10)
model.compile(optimizer=pixpro_tf.LARS(learning_rate=0.1))
losses = model.fit(pixpro_tf.training_dataset(config), steps_per_epoch=2, verbose=0).history["loss"]
print(json.dumps({
    "progress": [run.progress.step, run.progress.total_steps],
    "steps": [line["step"] for line in run.metrics],
    "difference": float(tf.reduce_max(tf.abs(ours - exported))),
    "losses": losses,
}))
"""


def test_flags_of_a_call_override_those_of_the_file(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(pretraining, "train", lambda config, *_, **__: seen.append(config))
    monkeypatch.setattr(pretraining.Run, "open", lambda folder: folder)
    # This file is valid only with a dataset of TFDS.
    (tmp_path / "mine.flags").write_text("--split=train[:10%]\n--gamma=3\n")
    (tmp_path / "photos").mkdir()
    flags = {"flagfile": str(tmp_path / "mine.flags"), "split": ""}
    pixpro_tf.pretrain(f"folder:{tmp_path / 'photos'}", str(tmp_path / "run"), **flags)
    (config,) = seen
    assert config.gamma == 3 and config.split == "" and config.backbone == "resnet50"
    with pytest.raises(pixpro_tf.ConfigError, match=r"^--batch_sizes is unknown"):
        pixpro_tf.pretrain("folder:photos", str(tmp_path / "run"), batch_sizes=3)


@pytest.mark.slow
def test_one_call_pretrains_and_the_run_can_be_exported(photos, tmp_path):
    process = subprocess.run(
        warm.python("-c", CODE, photos, tmp_path), cwd=ROOT, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    found = json.loads(process.stdout.splitlines()[-1])
    assert found["progress"] == [2, 2] and found["steps"] == [1, 2]
    assert found["difference"] < 1e-6
    assert len(found["losses"]) == 1 and -4 < found["losses"][0] < 4
