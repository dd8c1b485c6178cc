"""Memory of a run from the graph of its step, compared with hand-counted and with measured memory."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import memory
from benchmarks.graph_memory import peak_bytes
from pixpro_tf.cli.command_line import parse
from pixpro_tf.config import Config
from pixpro_tf.training import failures
from tests.conftest import ROOT

MEGABYTE = tf.TensorSpec([250_000])
SMALL = ["--backbone=resnet10w0.5", "--image_size=64", "--projector_hidden=64"]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        # The input does not count, and every operation writes over the output of the previous one.
        (lambda x: tf.nn.relu(tf.sqrt(x + 1.0)), 1_000_000),
        # The sum keeps both of its inputs until it writes over one of them.
        (lambda x: tf.sqrt(x + 1.0) + tf.cumsum(x + 2.0), 3_000_000),
        (lambda x: tf.reshape(tf.identity(tf.cumsum(x)), [500, 500]), 1_000_000),
        # The result of the first operation stays until its second use.
        (lambda x: [y := tf.cumsum(x), tf.cumsum(tf.cumsum(y)) + y][1], 3_000_000),
        (lambda x: tf.cast(tf.cumsum(x), tf.float16), 1_500_000),
        # Nothing uses the first operation.
        (lambda x: [tf.cumsum(x), tf.cumsum(x)[:1]][1], 1_000_004),
    ],
)
def test_peak_of_small_functions_matches_a_count_by_hand(function, expected):
    assert peak_bytes(function, MEGABYTE) == expected


def test_gradient_keeps_the_activations():
    def function(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = x
            for _ in range(4):
                y = tf.math.tanh(y)
            loss = tf.reduce_sum(y)
        return tape.gradient(loss, x)

    # Four activations, and two gradients while one is computed from the other.
    assert 4e6 <= peak_bytes(function, MEGABYTE) <= 6.1e6


@pytest.mark.slow
def test_command_prints_memory_by_precision_and_number_of_images(tmp_path, capsys):
    path = tmp_path / "memory.json"
    flags = [*SMALL, "--precisions=float32,bfloat16", "--images=8,64", f"--json={path}"]
    assert memory.main(flags) == 0
    title, head, *rows = capsys.readouterr().out.splitlines()
    assert title == "resnet10w0.5, views of 64 pixels: memory per device"
    assert head.split() == ["precision", "8", "64", "images"]
    assert [row.split()[0] for row in rows] == ["float32", "bfloat16"]
    written = json.loads(path.read_text())
    single, half = (np.array(written["bytes"][name]) for name in ("float32", "bfloat16"))
    assert written["images"] == [8, 64] and written["flags"]["backbone"] == "resnet10w0.5"
    of_images = single[1] - single[0], half[1] - half[0]
    assert 0.45 < of_images[1] / of_images[0] < 0.6
    assert rows[0].split()[-2] == f"{single[1] / 1e9:.1f}"


MEASURED = """
import sys

import pixpro_tf
import tensorflow as tf
from benchmarks import measuring
from benchmarks.step_cost import model_and_step, random_batch
from pixpro_tf.config import Config

config = Config(backbone="resnet18", image_size=128, batch_size=int(sys.argv[1]))
batch = random_batch(config, config.batch_size)
model, step = model_and_step(config, tf.distribute.get_strategy(), batch)
before = measuring.memory_from_now_on()["VmRSS"]
step()
step()
print(measuring.memory()["VmHWM"] - before)
"""


@pytest.mark.thorough
def test_computed_memory_of_a_step_is_within_15_percent_of_measured_memory():
    """Exact freeing and TensorFlow's plain kernels: those of oneDNN keep working memory of their own."""
    environment = os.environ | {
        "MALLOC_MMAP_THRESHOLD_": "65536",
        "TF_ENABLE_ONEDNN_OPTS": "0",
    }
    measured = [
        float(
            subprocess.run(
                [sys.executable, "-c", MEASURED, str(count)],
                cwd=ROOT,
                env=environment,
                check=True,
                capture_output=True,
                text=True,
            ).stdout
        )
        for count in (16, 80)
    ]
    config = Config(backbone="resnet18", image_size=128)
    small, large = memory.bytes_of(config, [16, 80])
    # TensorFlow itself grows in the first step, too, so the difference of two batches is compared.
    assert large - small == pytest.approx((measured[1] - measured[0]) * 1e6, rel=0.15)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["pixpro", "pixpro_instance"])
def test_header_of_a_recipe_states_the_computed_memory(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    header = (ROOT / "configs" / f"{name}.flags").read_text()
    found = re.search(r"take (\d+) GB in 16 bits, (\d+) GB in float32", header)
    for stated, precision in zip(found.groups(), ("bfloat16", "float32"), strict=True):
        config = parse(Config, [f"--flagfile={name}", f"--precision={precision}"])
        (computed,) = memory.bytes_of(config, [128])
        assert int(stated) == round(computed / 1e9)


@pytest.mark.parametrize(
    ("flags", "best", "line"),
    [
        (
            {"batch_size": 1024},
            "bfloat16",
            "128 images of 224 pixels on each device in float32; use --precision=bfloat16, which halves the memory, "
            "or --gradient_accumulation=2, which halves the images in memory",
        ),
        (
            {"batch_size": 1024, "gradient_accumulation": 2, "precision": "bfloat16"},
            "bfloat16",
            "64 images of 224 pixels on each device in bfloat16; use --gradient_accumulation=4, which halves the images in memory",
        ),
        (
            {"batch_size": 24},
            "float32",
            "3 images of 224 pixels on each device in float32; use --batch_size=8",
        ),
        (
            {"batch_size": 8},
            "float32",
            "1 image of 224 pixels on each device in float32; use an --image_size below 224 or a smaller --backbone",
        ),
    ],
)
def test_running_out_of_memory_names_the_flag_to_change(flags, best, line, monkeypatch):
    monkeypatch.setattr(failures.devices, "best_precision", lambda: best)
    error = failures._out_of_memory(Config(**flags), replicas=8, has_begun=False)
    assert error.line == f"out of memory with {line}"
