"""Flag files in configs/: each can be built, and trains two small steps on scenes with `train.py` and the flags of the file."""

import json
import re

import pytest

from pixpro_tf import build
from pixpro_tf.cli.command_line import parse
from pixpro_tf.config import Config
from tests.conftest import ROOT

CONFIGS = ROOT / "configs"
MAIN = sorted(path.stem for path in CONFIGS.glob("*.flags"))
ABLATIONS = sorted(path.stem for path in (CONFIGS / "ablations").glob("*.flags"))
FILES = [*MAIN, *(f"ablations/{name}" for name in ABLATIONS)]
# `tests/objectives` trains each part of the others for one step.
TRAINED = ("pixpro",)
SMALL = (
    "--backbone=resnet10w0.5",
    "--image_size=64",
    "--batch_size=8",
    "--strategy=one_device",
    "--tpu=",
    "--precision=float32",
    "--jit=ppm",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_configuration_builds(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    config = parse(Config, [f"--flagfile=configs/{name}.flags", *SMALL])
    model = build.build_model(config, total_steps=2)
    assert len(model.trainable_variables) > 36 and not model.target.trainable_variables


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [name if name in TRAINED else pytest.param(name, marks=pytest.mark.thorough) for name in FILES],
)
def test_configuration_trains(train, scenes_dir, tmp_path, name):
    # Ablations have the views of pixpro.flags, which trains with them here; tracing the views again would take a quarter of the test time.
    same_views = name.startswith("ablations/") and name != "ablations/symmetric_views"
    train(
        f"--flagfile=configs/{name}.flags",
        *SMALL,
        *(["--augmentation=none"] if same_views else []),
        "--pictures_every=1000",
        "--dataset=scenes/128",
        f"--data_dir={scenes_dir}",
        "--steps_per_epoch=2",
        "--max_steps=2",
        f"--run_dir={tmp_path}",
        cwd=ROOT,
    )
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert all(line["gradient_norm"] > 0 for line in lines)


@pytest.mark.parametrize("name", [name for name in MAIN if name != "demo"])
def test_recipe_suits_the_precision_to_the_devices_and_states_its_memory(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    flags = ["--tpu=local"] if name == "pixpro_tpu" else []
    assert parse(Config, [f"--flagfile={name}", *flags]).precision == "auto"
    if name != "pixpro_tpu":
        header = (CONFIGS / f"{name}.flags").read_text().split("\n--")[0]
        assert re.search(r"take \d+ GB in 16 bits, \d+ GB in float32", header)


def test_all_ablations_of_the_paper_exist():
    studies = {name.rpartition("_")[0] for name in ABLATIONS}
    assert studies == {
        "threshold",
        "gamma",
        "ppm_layers",
        "projector_hidden",
        "projector_dim",
        "projector_layers",
        "output_stride",
        "symmetric",
        "ema_momentum",
        "temperature",
        "no",
    }


@pytest.mark.parametrize("name", ABLATIONS)
def test_ablation_changes_only_the_flag_in_its_name(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    config, base = (
        parse(Config, [f"--flagfile=configs/{path}.flags"]).to_dict()
        for path in (f"ablations/{name}", "pixcontrast" if "temperature" in name else "pixpro")
    )
    changed = {key: config[key] for key in config if config[key] != base[key]}
    assert changed.pop("run_dir") == f"runs/ablations/{name}"
    ((flag, value),) = changed.items()
    study, _, said = name.rpartition("_")
    if study == "symmetric":
        assert (flag, value) == ("augmentation", "byol_symmetric")
    elif study == "no":
        assert (flag, value) == (said, False)
    else:
        assert flag.endswith(study) and value == float(said)
