"""N replicas of B / N images train as one of B does, in one process and in several."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import ROOT

# Rounding differs with the number of replicas; five steps of a BN network amplify it. In float64 little of it is left.
TOLERANCE = {"float32": 1e-4, "float64": 1e-9}


def start(strategy, num_devices, precision, photos, output, **environment):
    arguments = [strategy, str(num_devices), precision, str(photos), str(output)]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.replicas", *arguments],
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


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def cluster_of_two():
    workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
    return [
        json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})
        for index in range(2)
    ]


def assert_same_weights(path_a, path_b, tolerance):
    a, b = np.load(path_a), np.load(path_b)
    assert sorted(a.files) == sorted(b.files)
    for name in a.files:
        scale = np.linalg.norm(a[name])
        assert np.linalg.norm(a[name] - b[name]) <= tolerance * scale, name


@pytest.fixture(scope="module", params=["float32", "float64"])
def one_replica(request, photos, tmp_path_factory):
    output = tmp_path_factory.mktemp("one") / "weights.npz"
    finish(start("one_device", 0, request.param, photos, output))
    return request.param, output


@pytest.mark.slow
def test_two_replicas_train_as_one(one_replica, photos, tmp_path):
    precision, expected = one_replica
    output = tmp_path / "weights.npz"
    finish(start("mirrored", 2, precision, photos, output))
    assert_same_weights(expected, output, TOLERANCE[precision])


@pytest.mark.slow
def test_two_processes_train_as_one(one_replica, photos, tmp_path):
    precision, expected = one_replica
    output = tmp_path / "weights.npz"
    workers = [
        start("multi_worker", 0, precision, photos, output, TF_CONFIG=text)
        for text in cluster_of_two()
    ]
    finish(*workers)
    assert_same_weights(expected, output, TOLERANCE[precision])


@pytest.mark.slow
def test_training_moves_the_weights(one_replica):
    _, expected = one_replica
    weights = np.load(expected)
    moved = weights["encoder.layer1.0.conv1.weight"] - weights["encoder_k.layer1.0.conv1.weight"]
    assert np.linalg.norm(moved) > 1e-3 * np.linalg.norm(weights["encoder.layer1.0.conv1.weight"])
    assert len(set(weights["losses"].tolist())) == len(weights["losses"])
