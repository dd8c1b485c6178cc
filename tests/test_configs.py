"""Every configuration trains: two small steps on scenes, by `train.py` and with the flags of its file."""

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT

CONFIGS = ROOT / "configs"
MAIN = sorted(path.stem for path in CONFIGS.glob("*.flags"))
ABLATIONS = sorted(path.stem for path in (CONFIGS / "ablations").glob("*.flags"))
SMALL = (
    "--dataset=scenes/128",
    "--backbone=resnet10",
    "--image_size=64",
    "--batch_size=8",
    "--steps_per_epoch=2",
    "--max_steps=2",
    "--strategy=one_device",
    "--tpu=",
    "--precision=float32",
    "--jit=ppm",
)
# The command line of each in one process, which imports TensorFlow once.
_EACH = """
import sys
from pixpro_tf import command_line
names, flags = sys.argv[1].split(","), sys.argv[2:]
for name in names:
    own = [f"--flagfile=configs/ablations/{name}.flags", *(flag.replace("NAME", name) for flag in flags)]
    if code := command_line.main(["train.py", *own]):
        sys.exit(f"{name}: {code}")
"""


@pytest.fixture(scope="module")
def scenes(scenes_dir):
    return f"--data_dir={scenes_dir}"


def assert_trained(run_dir, name):
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2], name
    assert all(line["gradient_norm"] > 0 for line in lines), name
    return lines[-1]


@pytest.mark.slow
@pytest.mark.parametrize("name", MAIN)
def test_a_configuration_trains(train, scenes, tmp_path, name):
    small = SMALL if name != "demo" else (*SMALL, "--output_stride=16")
    train(f"--flagfile=configs/{name}.flags", *small, scenes, f"--run_dir={tmp_path}", cwd=ROOT)
    assert_trained(tmp_path, name)


@pytest.mark.slow
def test_the_ablations_train(scenes, tmp_path):
    flags = (*SMALL, scenes, f"--run_dir={tmp_path}/NAME")
    process = subprocess.run(
        [sys.executable, "-c", _EACH, ",".join(ABLATIONS), *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    for name in ABLATIONS:
        assert_trained(tmp_path / name, name)


def test_the_papers_ablations_are_all_there():
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
def test_an_ablation_changes_what_its_name_says(name, monkeypatch):
    from pixpro_tf import command_line

    monkeypatch.chdir(ROOT)
    config, base = (
        command_line.parse(["train.py", f"--flagfile=configs/{path}.flags"]).to_dict()
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
