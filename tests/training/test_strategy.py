import json
import os
import threading

import pytest
import tensorflow as tf

from pixpro_tf.config import Config
from pixpro_tf.errors import ConfigError, RunError
from pixpro_tf.training import slurm, strategy, workers


@pytest.mark.parametrize("name", ["auto", "one_device"])
def test_one_device_is_used_without_several_gpus(name):
    made = strategy.make_strategy(name)
    assert isinstance(made, tf.distribute.OneDeviceStrategy)
    assert strategy.is_chief(made)


@pytest.mark.parametrize("error", [RuntimeError, ValueError])
def test_gpus_that_are_in_use_already_keep_their_settings(monkeypatch, error):
    def refused(gpu, enable):
        raise error("Physical devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["GPU:0"])
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", refused)
    monkeypatch.setattr(tf.distribute, "OneDeviceStrategy", lambda device: device)
    assert strategy.make_strategy("one_device") == "/gpu:0"


def test_mirrored_on_a_cpu_has_one_replica():
    made = strategy.make_strategy("mirrored")
    assert isinstance(made, tf.distribute.MirroredStrategy)
    assert made.num_replicas_in_sync == 1


def test_missing_tpu_is_reported_in_one_line(monkeypatch):
    def unreachable(tpu):
        raise ValueError(f"Could not find TPU {tpu}\nmore of it")

    monkeypatch.setattr(tf.distribute.cluster_resolver, "TPUClusterResolver", unreachable)
    with pytest.raises(RunError, match="--tpu=nowhere cannot be reached: Could not find") as raised:
        strategy.make_strategy("tpu", tpu="nowhere")
    assert "\n" not in str(raised.value)


def test_missing_tpu_support_names_the_package_to_install():
    with pytest.raises(
        RunError, match=r"on a TPU VM, install requirements-tpu\.txt as its first lines say"
    ) as raised:
        strategy.make_strategy("tpu", tpu="local")
    assert "\n" not in str(raised.value)


WORKERS = {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}
WITH_CHIEF = {"chief": ["127.0.0.1:1"], "worker": ["127.0.0.1:2"]}


@pytest.mark.parametrize(
    ("cluster", "role", "index", "chief"),
    [
        (WORKERS, "worker", 0, True),
        (WORKERS, "worker", 1, False),
        (WITH_CHIEF, "chief", 0, True),
        (WITH_CHIEF, "worker", 0, False),
    ],
)
def test_chief_or_else_the_first_worker_writes(cluster, role, index, chief, monkeypatch):
    task = {"type": role, "index": index}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))

    class Workers(tf.distribute.MultiWorkerMirroredStrategy):
        # The constructor of the real class would wait for the other worker.
        def __init__(self):
            pass

        cluster_resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()

    assert strategy.is_chief(Workers()) is chief


@pytest.mark.parametrize(
    ("nodes", "tasks", "rank", "addresses"),
    [
        ("node[01-02]", "1(x2)", 1, ["node01:P", "node02:P"]),
        ("gpu7", "2", 0, ["gpu7:P", "gpu7:Q"]),
        ("a,b", "2,1", 2, ["a:P", "a:Q", "b:P"]),
        # In the order of the ranks, not in that of their names.
        ("gpu[9-10]", "1(x2)", 1, ["gpu9:P", "gpu10:P"]),
        ("x[098-100,7],login-1", "1(x5)", 4, ["x098:P", "x099:P", "x100:P", "x7:P", "login-1:P"]),
    ],
)
def test_slurm_step_becomes_a_cluster(nodes, tasks, rank, addresses, monkeypatch):
    for name, value in {
        "SLURM_JOB_ID": "81042",
        "SLURM_STEP_ID": "0",
        "SLURM_PROCID": str(rank),
        "SLURM_STEP_NODELIST": nodes,
        "SLURM_STEP_NUM_TASKS": str(len(addresses)),
        "SLURM_STEP_TASKS_PER_NODE": tasks,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    found = slurm.slurm_cluster()
    port = int(found["cluster"]["worker"][0].rpartition(":")[2])
    addresses = [each.replace("P", str(port)).replace("Q", str(port + 1)) for each in addresses]
    assert found == {
        "cluster": {"worker": addresses},
        "task": {"type": "worker", "index": rank},
    }
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    # Neighbouring jobs and steps, which often share a node, do not share ports.
    ports = set()
    for job in ("81041", "81042", "81043"):
        for step in ("0", "1"):
            monkeypatch.setenv("SLURM_JOB_ID", job)
            monkeypatch.setenv("SLURM_STEP_ID", step)
            address = slurm.slurm_cluster()["cluster"]["worker"][0]
            ports |= {int(address.rpartition(":")[2]) + task for task in range(16)}
    assert len(ports) == 6 * 16 and min(ports) >= 12000 and max(ports) < 32768


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SLURM_STEP_NODELIST", "rack[1-2]node3", "is not a list of nodes"),
        ("SLURM_STEP_TASKS_PER_NODE", "two", "is not a list of numbers"),
        ("SLURM_STEP_TASKS_PER_NODE", "17", "supports up to 16 processes on each node"),
        ("SLURM_STEP_TASKS_PER_NODE", "1,1", "supports up to 16 processes on each node"),
    ],
)
def test_variables_of_slurm_that_cannot_be_read_are_reported(name, value, said, monkeypatch):
    values = {
        "SLURM_JOB_ID": "1",
        "SLURM_PROCID": "0",
        "SLURM_STEP_NODELIST": "gpu1",
        "SLURM_STEP_TASKS_PER_NODE": "1",
    }
    for each, text in (values | {name: value}).items():
        monkeypatch.setenv(each, text)
    with pytest.raises(ConfigError, match=said) as raised:
        slurm.slurm_cluster()
    assert f"{name}={value}" in str(raised.value)


@pytest.mark.parametrize(
    ("steps", "images", "flags", "said"),
    [
        ((7, 7), (1_281_167, 1_281_167), ({}, {}), ""),
        ((7, 8), (100, 100), ({}, {}), "starts at step"),
        ((0, 0), (1_281_167, 1_281_166), ({}, {}), "has 12811"),
        ((0, 0), (100, 100), ({}, {"seed": 1}), "has --seed="),
        ((0, 0), (100, 100), ({"batch_size": 512}, {}), "has --batch_size="),
        (
            (0, 0),
            (100, 100),
            ({"precision": "float16"}, {"precision": "bfloat16"}),
            "pass the --precision that all of them support",
        ),
    ],
)
def test_workers_that_differ_are_rejected(steps, images, flags, said, monkeypatch):
    class Workers(tf.distribute.MultiWorkerMirroredStrategy):
        def __init__(self):
            pass

        num_replicas_in_sync = 2

    values, together = [0.0, 0.0], threading.Barrier(2)
    errors = ["", ""]

    def work(number):
        def total(value):
            values[number] = value
            together.wait()
            found = sum(values)
            together.wait()
            return found

        own.total = total
        try:
            config = Config(**{"precision": "float32"} | flags[number])
            workers.check_workers_agree(Workers(), steps[number], images[number], config)
        except RunError as error:
            errors[number] = str(error)

    own = threading.local()
    monkeypatch.setattr(workers, "_sum_over_replicas", lambda strategy: own.total)
    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(said in error and bool(said) == bool(error) for error in errors), errors
