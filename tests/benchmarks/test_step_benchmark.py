import dataclasses
import json
import subprocess
import sys

import pytest

from benchmarks import measuring, step, step_cost
from pixpro_tf.config import Config
from tests.conftest import ROOT

CASE = step.Case("resnet18", 8, "float32", "ppm")
COST = step.Cost("CPU", 100 * 10**9, [1.0, 2.0, 4.0], [2e11, 1e11, 2e11], [], 1234.0, 9.5)


@pytest.mark.thorough
def test_both_frameworks_are_measured_and_written(tmp_path, capsys):
    pytest.importorskip("torch")
    path = tmp_path / "step.json"
    flags = ["--backbones=resnet10w0.5", "--batch_sizes=2", "--image_size=64", "--repeats=2"]
    assert step.main([*flags, "--augment_on=device", "--torch", f"--json={path}"]) == 0
    device, head, ours, theirs, ratio = capsys.readouterr().out.splitlines()
    assert device == "CPU" and "of peak" in head
    assert ours.split()[:4] == ["resnet10w0.5", "2", "float32", "ppm"] and "%" in ours
    assert theirs.split()[:4] == ["resnet10w0.5", "2", "float32", "torch"]
    assert "--jit=ppm" in ratio and "times PyTorch's images/s" in ratio
    tensorflow, torch = json.loads(path.read_text())
    for result in (tensorflow, torch):
        cost = result["cost"]
        assert len(cost["seconds"]) == len(cost["product_flops"]) == 2
        assert 0 < min(cost["seconds"]) < cost["first_step"] and cost["megabytes"] > 200
    # Only the TensorFlow step includes photometric augmentation.
    assert len(tensorflow["cost"]["colours"]) == 2 and not torch["cost"]["colours"]
    assert tensorflow["cost"]["flops"] == pytest.approx(torch["cost"]["flops"], rel=0.01)


@pytest.mark.thorough
def test_a_whole_step_compiles_in_half_precision(capsys):
    flags = ["--backbones=resnet10w0.5", "--batch_sizes=2", "--image_size=64", "--repeats=1"]
    assert step.main([*flags, "--precisions=bfloat16", "--jit_modes=step"]) == 0
    (row,) = capsys.readouterr().out.splitlines()[2:]
    assert row.split()[:4] == ["resnet10w0.5", "2", "bfloat16", "step"] and "%" in row


def test_each_combination_is_a_row(monkeypatch, capsys):
    monkeypatch.setattr(step.measuring, "apart", lambda *_: "not run")
    assert (
        step.main(["--batch_sizes=2,4", "--precisions=float32,bfloat16", "--jit_modes=ppm,off"])
        == 0
    )
    rows = [line.split()[1:4] for line in capsys.readouterr().out.splitlines()[2:]]
    assert rows == [
        [size, precision, jit]
        for size in ("2", "4")
        for precision in ("float32", "bfloat16")
        for jit in ("ppm", "off")
    ]


def test_table_shows_medians_and_shares():
    head, row = step.table([(CASE, "tensorflow", COST)]).splitlines()
    assert head.split()[:3] == ["backbone", "batch", "precision"]
    # 100 GFLOP in 1, 2 and 4 seconds, relative to 200, 100 and 200 GFLOP/s.
    assert COST.of_peak == [0.5, 0.5, 0.125]
    assert "4.00" in row and "2.000 (1.000..4.000)" in row and "50 % (12..50)" in row
    assert row.split()[-3:] == ["1234", "9.5", "s"]


def test_two_batch_sizes_show_the_memory_of_an_image():
    rows = [
        (
            dataclasses.replace(CASE, batch_size=size),
            "tensorflow",
            dataclasses.replace(COST, megabytes=peak),
        )
        for size, peak in ((8, 1800.0), (24, 4200.0))
    ]
    assert step.memory_by_image(rows) == (
        "resnet18, float32, --jit=ppm: 150 MB per image plus 600 MB; 19.8 GB with 128 images"
    )
    assert step.memory_by_image([*rows[:1], (rows[1][0], "tensorflow", "killed")]) == ""


def test_a_recipe_is_measured_with_its_own_flags(monkeypatch):
    monkeypatch.chdir(ROOT)
    config = dataclasses.replace(CASE, recipe="configs/pixpro_fpn.flags").config()
    assert config.pixel_levels == "p3,p4,p5" and config.dense_head_layers == 4
    assert (config.backbone, config.batch_size, config.strategy) == ("resnet18", 8, "one_device")
    assert CASE.config().pixel_levels == Config.pixel_levels


def test_pytorch_supports_only_the_main_recipe(capsys):
    assert step.main(["--torch", "--recipe=configs/pixpro_fpn.flags"]) == 2
    assert "--torch" in capsys.readouterr().err


def test_table_shows_why_a_case_failed():
    assert step.table([(CASE, "tensorflow", "killed")]).endswith("ppm     killed")


def test_pytorch_is_compared_with_the_same_case():
    torch = (
        dataclasses.replace(CASE, jit="off"),
        "torch",
        dataclasses.replace(COST, seconds=[3.0]),
    )
    other = (dataclasses.replace(CASE, batch_size=4), "tensorflow", COST)
    text = step.ratios([(CASE, "tensorflow", COST), torch, other])
    assert text == "resnet18, 8 images, --jit=ppm: 1.50 times PyTorch's images/s"


def test_views_have_the_format_of_the_pipeline():
    for place, dtype in (("host", "float32"), ("device", "uint8")):
        batch = step_cost.random_batch(Config(augment_on=place, image_size=32, output_stride=8), 3)
        assert batch["view_1"].shape == (3, 32, 32, 3) and batch["view_1"].dtype == dtype
        assert ("seed" in batch) == (place == "device")


@pytest.mark.parametrize(
    ("flag", "problem"),
    [
        ("--backbones=resnet51", "resnet51 is unknown; did you mean resnet50? choose one of"),
        ("--batch_sizes=8,0", "--batch_sizes=8,0 is too small; the minimum is 1"),
        ("--precisions=int8", "int8 is unknown; choose one of float32, bfloat16, float16"),
    ],
)
def test_reports_invalid_flags(flag, problem, capsys):
    assert step.main([flag]) == 2
    assert problem in capsys.readouterr().err


def test_reports_why_a_process_failed():
    assert measuring.apart("benchmarks.nothing").endswith("No module named benchmarks.nothing")
    assert measuring.reason(-9, "") == "killed by signal 9, out of memory?"
    assert measuring.reason(3, " \n") == "exit code 3"


def test_memory_of_pytorch_is_measured_without_tensorflow():
    pytest.importorskip("torch")
    program = "import sys, benchmarks.step_cost_torch; print('tensorflow' in sys.modules)"
    process = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True
    )
    assert process.stdout == "False\n", process.stderr
