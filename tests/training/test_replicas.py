"""Equivalence of N replicas with B / N images each to one replica with B images, in one process and in several."""

import os
import subprocess

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.support import warm
from tests.support.replicas import CASES
from tests.support.runs import cluster_of_two

# Rounding depends on the number of replicas, and five steps of a BN network amplify the differences. In float64 they are small.
TOLERANCE = {"float32": 1e-4, "float64": 1e-9}
# One case for each way of synchronising batch norm: the first case for replicas in one process; for several processes the last case, which
# also covers everything else that replicas exchange (negatives and micro-batches). The other cases are thorough tests.
QUICKEST = ("pixpro_float32", "accumulated_contrast_float64")


def start(strategy, num_devices, cases, photos, folder, **environment):
    arguments = [strategy, num_devices, ",".join(cases), photos, folder]
    return subprocess.Popen(
        warm.python("-m", "tests.support.replicas", *arguments),
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(*processes):
    for process in processes:
        output, _ = process.communicate(timeout=500)
        assert process.returncode == 0, output


def by_layer(weights):
    """Returns the weights and biases of each layer as one vector, and its running averages as separate vectors.

    The shift of a batch norm starts at 0, so after five steps of a warm-up its own norm is not a suitable scale for a difference; the norm
    of its layer is.
    """
    layers = {}
    for name in sorted(weights.files):
        if name != "losses":
            layer, _, kind = name.rpartition(".")
            group = f"{layer}.{kind}" if kind.startswith("running") else layer
            layers.setdefault(group, []).append(weights[name].ravel())
    return {layer: np.concatenate(parts) for layer, parts in layers.items()}


def assert_same_weights(folder_a, folder_b, cases):
    for case in cases:
        tolerance = TOLERANCE[CASES[case][1]]
        files = [np.load(folder / f"{case}.npz") for folder in (folder_a, folder_b)]
        # Metrics are float32 in any precision.
        losses = [file["losses"] for file in files]
        np.testing.assert_allclose(*losses, rtol=max(tolerance, 1e-6), err_msg=case)
        a, b = map(by_layer, files)
        assert a.keys() == b.keys() and len(a) > 50
        for layer in a:
            difference = np.linalg.norm(a[layer] - b[layer]) / np.linalg.norm(a[layer])
            assert difference <= tolerance, (case, layer)


@pytest.fixture(
    scope="module",
    params=[QUICKEST, pytest.param(tuple(CASES), marks=pytest.mark.thorough)],
    ids=["quickest", "others"],
)
def cases(request):
    return request.param


@pytest.fixture(scope="module")
def one_replica(photos, cases, tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    finish(start("one_device", 0, cases, photos, folder))
    return folder


@pytest.fixture(scope="module")
def two_replicas(photos, cases, tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    chosen = cases[:1] if cases == QUICKEST else cases[1:]
    finish(start("mirrored", 2, chosen, photos, folder))
    return folder, chosen


@pytest.mark.slow
def test_two_replicas_train_as_one(one_replica, two_replicas):
    folder, chosen = two_replicas
    assert_same_weights(one_replica, folder, chosen)


@pytest.mark.slow
def test_two_processes_train_as_one(one_replica, cases, photos, tmp_path):
    chosen = cases[-1:] if cases == QUICKEST else cases[:-1]
    workers = [
        start("multi_worker", 0, chosen, photos, tmp_path, TF_CONFIG=text)
        for text in cluster_of_two()
    ]
    finish(*workers)
    assert_same_weights(one_replica, tmp_path, chosen)


@pytest.mark.slow
def test_training_moves_the_weights(one_replica, cases):
    weights = np.load(one_replica / f"{cases[-1]}.npz")
    name = "layer1.0.conv1.weight"
    moved = weights[f"encoder.{name}"] - weights[f"encoder_k.{name}"]
    assert np.linalg.norm(moved) > 1e-4 * np.linalg.norm(weights[f"encoder.{name}"])
    assert len(set(weights["losses"].tolist())) == len(weights["losses"])
