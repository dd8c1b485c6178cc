"""Fixtures and hooks of all tests; before TensorFlow is imported, selects quiet logs, one set of kernels and Keras 2."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Use the same kernels on every CPU: oneDNN selects kernels by the CPU's instruction set, and in float32 the second step of a comparison
# depends on whether rounding moves a channel across the kink of a ReLU.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import pixpro_tf  # noqa: F401  isort: skip

import collections
import ctypes
import gc
import pathlib
import signal
import subprocess

import pytest

from pixpro_tf.training.signals import SIGNALS
from tests.support import tiny_run, warm

ROOT = pathlib.Path(__file__).parent.parent
# Tensors of a megabyte or more are returned to the system when they are freed; by default, glibc keeps ever larger ones for reuse.
_libc = ctypes.CDLL(None) if hasattr(ctypes.CDLL(None), "malloc_trim") else None
_M_MMAP_THRESHOLD = -3
if _libc:
    _libc.mallopt(_M_MMAP_THRESHOLD, 1 << 20)


@pytest.fixture
def default_signals():
    """Handles signals as in a terminal; the tests may run where some are ignored, such as in the background or under `nohup`."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in SIGNALS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def pytest_addoption(parser):
    parser.addoption(
        "--part",
        type=lambda text: [int(number) for number in text.split("/")],
        metavar="K/N",
        help="run only the Kth of N parts of the tests marked thorough, counted from 1",
    )


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    """Lets the workers of xdist share one server of warm processes."""
    node.workerinput["warm"] = warm.server()


def pytest_configure(config):
    if workerinput := getattr(config, "workerinput", None):
        warm.share(workerinput["warm"])


def pytest_terminal_summary(terminalreporter):
    """Prints the table of the robustness suite: how many inputs were read and rejected."""
    rows = [
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, value in getattr(report, "user_properties", ())
        if name == "robustness" and report.when == "call"
    ]
    if rows:
        terminalreporter.section("robustness")
        for row in sorted(rows):
            terminalreporter.line(row)


def pytest_collection_modifyitems(config, items):
    """Deselects the other parts of the thorough tests, and runs large tests and files with long tests first."""
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
    """Frees the graphs that the tests of a file traced: Keras keeps every symbolic call of a process, with its layers."""
    # Imported here because the process that only distributes the tests to the workers does not need it.
    import tensorflow as tf

    yield
    tf.keras.backend.clear_session()
    gc.collect()
    if _libc:
        _libc.malloc_trim(0)


@pytest.fixture(autouse=True)
def float32_policy():
    """Resets the precision policy after each test."""
    import tensorflow as tf

    yield
    tf.keras.mixed_precision.set_global_policy("float32")


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Folder of 48 small JPEG files with smooth, distinct content."""
    folder = tmp_path_factory.mktemp("photos")
    tiny_run.write_photos(folder)
    return folder


@pytest.fixture(scope="session")
def scenes_dir(tmp_path_factory):
    """Data folder of TFDS for `scenes`, which the first test that uses it builds for all workers."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "data"


@pytest.fixture(scope="session")
def train():
    """Function that runs `train.py` with flags in a warm process and returns the finished process."""

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
    """Flags of a run that takes seconds, without its run folder: 6 epochs of 10 steps."""
    return (f"--dataset=folder:{photos}", *tiny_run.FLAGS)


@pytest.fixture(scope="session")
def whole_run(train, tiny_flags, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("runs") / "whole"
    process = train(*tiny_flags, f"--run_dir={run_dir}", "--checkpoint_every=7", "--keep_every=4")
    return run_dir, process.stdout
