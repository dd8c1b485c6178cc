"""Before TensorFlow is imported: quiet logs, one set of kernels, and Keras 2."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# The same kernels on every processor: oneDNN chooses its own by the processor's instructions, and in float32 the second step of a
# comparison depends on which rounding sends a channel over the kink of a ReLU.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import pixpro_tf  # noqa: F401  isort: skip

import collections
import ctypes
import gc
import pathlib
import subprocess

import numpy as np
import pytest
from PIL import Image

from tests.support import warm

ROOT = pathlib.Path(__file__).parent.parent
# Tensors of a megabyte and more go back to the system when they are freed; left to itself, glibc keeps ever larger ones for later.
_libc = ctypes.CDLL(None) if hasattr(ctypes.CDLL(None), "malloc_trim") else None
_M_MMAP_THRESHOLD = -3
if _libc:
    _libc.mallopt(_M_MMAP_THRESHOLD, 1 << 20)


def pytest_addoption(parser):
    parser.addoption(
        "--part",
        type=lambda text: [int(number) for number in text.split("/")],
        metavar="K/N",
        help="of the tests marked thorough, run the Kth of N parts only, counted from 1",
    )


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    """The workers of xdist share one server of warm processes."""
    node.workerinput["warm"] = warm.server()


def pytest_configure(config):
    if workerinput := getattr(config, "workerinput", None):
        warm.share(workerinput["warm"])


def pytest_collection_modifyitems(config, items):
    """Leaves out the other parts of the thorough tests, and lets large tests and files with long ones start first."""
    if part := config.getoption("--part"):
        number, parts = part
        thorough = [item for item in items if item.get_closest_marker("thorough")]
        chosen = set(sorted(thorough, key=lambda item: item.nodeid)[number - 1 :: parts])
        others = [item for item in thorough if item not in chosen]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]
    long = collections.Counter(
        item.path
        for item in items
        if item.get_closest_marker("slow") or item.get_closest_marker("thorough")
    )
    items.sort(key=lambda item: (not item.get_closest_marker("large"), -long[item.path]))


@pytest.fixture(scope="module", autouse=True)
def forget_graphs():
    """Lets go of what a file's tests have traced: Keras keeps every symbolic call of a process, with the layers behind it."""
    # Here, for the process that only deals the tests out to the workers does without.
    import tensorflow as tf

    yield
    tf.keras.backend.clear_session()
    gc.collect()
    if _libc:
        _libc.malloc_trim(0)


@pytest.fixture(autouse=True)
def float32_policy():
    """A test that sets another precision leaves none of it behind."""
    import tensorflow as tf

    yield
    tf.keras.mixed_precision.set_global_policy("float32")


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """A folder of 48 small JPEG files with smooth, distinct content."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for index in range(48):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        coarse.resize((80, 60), Image.Resampling.BICUBIC).save(folder / f"{index:02d}.jpg")
    return folder


@pytest.fixture(scope="session")
def scenes_dir(tmp_path_factory):
    """Where TFDS keeps `scenes`, which the first test that asks for them builds, for all workers."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "data"


@pytest.fixture(scope="session")
def train():
    """Runs `train.py` with flags in a warm process; returns the finished process."""

    def run(*flags, check=True, **kwargs):
        process = subprocess.run(
            warm.python(ROOT / "train.py", *flags),
            capture_output=True,
            text=True,
            timeout=600,
            **kwargs,
        )
        if check:
            assert process.returncode == 0, process.stdout + process.stderr
        return process

    return run


@pytest.fixture(scope="session")
def tiny_flags(photos):
    """Flags of a run that takes seconds, without its folder: 6 epochs of 10 steps."""
    return (
        f"--dataset=folder:{photos}",
        "--augmentation=none",
        "--backbone=resnet10w0.5",
        "--image_size=32",
        "--output_stride=16",
        "--projector_hidden=64",
        "--projector_dim=32",
        "--batch_size=8",
        "--steps_per_epoch=10",
        "--epochs=6",
        "--warmup_epochs=1",
        "--log_every=5",
        "--pictures_every=1000",
    )


@pytest.fixture(scope="session")
def whole_run(train, tiny_flags, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("runs") / "whole"
    process = train(*tiny_flags, f"--run_dir={run_dir}", "--checkpoint_every=7", "--keep_every=4")
    return run_dir, process.stdout
