"""Batches produced by a data service: the same as in a single process, in the same order."""

import subprocess
import time

import pytest
import tensorflow as tf

from pixpro_tf import data_service
from pixpro_tf.config import Config
from pixpro_tf.data import pipeline, sources
from pixpro_tf.data.service import SEVERAL_WORKERS, DataService
from pixpro_tf.data.views.photometric import Photometric
from pixpro_tf.errors import ConfigError, RunError
from pixpro_tf.training import inputs
from tests.conftest import ROOT
from tests.support import warm
from tests.support.batches import assert_same, write_noise
from tests.support.runs import free_ports

service = tf.data.experimental.service
COUNT, BATCH = 22, 8


class Service:
    """Dispatcher with workers, whose `_num_tasks` shows whether they had any work."""

    def __init__(self, workers=1):
        self.dispatcher = service.DispatchServer()
        self.address = self.dispatcher.target
        self.workers = [
            service.WorkerServer(service.WorkerConfig(self.address.removeprefix("grpc://")))
            for _ in range(workers)
        ]


@pytest.fixture(scope="module")
def two():
    servers = Service(), Service()
    yield servers
    for each in servers:
        # The workers end before their dispatcher, because they would keep looking for it.
        each.workers.clear()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    write_noise(root, COUNT)
    return root


def service_of(servers):
    return DataService(tuple(server.address for server in servers))


def batches(dataset, count, **options):
    source = sources.open_source(dataset, data_dir="", split="", shuffle_buffer=10)
    settings = {
        "batch_size": BATCH,
        "image_size": 16,
        "min_crop_area": 0.2,
        "seed": 5,
        "workers": 2,
    }
    made = pipeline.training_dataset(source, **(settings | options))
    return list(made.take(count).as_numpy_iterator())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder:{}/folder", "tfrecord:{}/shards/*"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        # Start in the middle of an epoch; elements are the micro-batches of each replica.
        {"start_step": 1, "num_hosts": 2, "host": 1, "replicas_per_host": 2, "accumulation": 2},
        {"photometric": Photometric("none")},
    ],
    ids=["whole", "shares", "photometric"],
)
def test_batches_of_a_service_are_the_same_in_the_same_order(root, two, kind, options):
    dataset = kind.format(root)
    # The batches pass the end of an epoch, and their number per epoch is not a multiple of the number of workers.
    expected = batches(dataset, 10, **options)
    made = batches(dataset, 10, service=service_of(two), **options)
    for batch, other in zip(made, expected, strict=True):
        assert_same(batch, other)


def test_each_worker_produces_its_share(root, two):
    before = [sum(worker._num_tasks() for worker in each.workers) for each in two]
    batches(f"folder:{root / 'folder'}", 4, service=service_of(two))
    after = [sum(worker._num_tasks() for worker in each.workers) for each in two]
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1]


@pytest.mark.slow
def test_a_run_gets_its_batches_from_the_service(root, two):
    config = Config(
        dataset=f"folder:{root / 'folder'}",
        data_service=",".join(each.address for each in two),
        batch_size=BATCH,
        image_size=32,
        output_stride=16,
        augmentation="none",
    )
    source = sources.open_source(config.dataset, data_dir="", split="", shuffle_buffer=1)
    before = [each.workers[0]._num_tasks() for each in two]
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    next(iter(inputs.distributed_dataset(config, source, strategy, 0)))
    after = [each.workers[0]._num_tasks() for each in two]
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1]


def test_several_workers_of_one_dispatcher_are_detected(root):
    several = Service(workers=2)
    with pytest.raises(tf.errors.InvalidArgumentError, match=SEVERAL_WORKERS):
        # Enough batches for both workers to return one.
        batches(f"folder:{root / 'folder'}", 5000, service=service_of([several]))


def test_a_dispatcher_that_does_not_answer_is_reported(two):
    (port,) = free_ports(1)
    address = f"grpc://localhost:{port}"
    with pytest.raises(
        RunError, match=rf"^data_service={address} does not answer: .* --port={port}"
    ):
        DataService((two[0].address, address)).check()
    with pytest.raises(RunError, match="does not answer: invalid host name"):
        DataService(("grpc://h..com:5050",)).check()
    service_of(two).check()


UNREACHABLE = """
import sys, pixpro_tf
from pixpro_tf.cli.commands import exit_code_of
from pixpro_tf.data import service
service._SECONDS_TO_ANSWER = 2
sys.exit(exit_code_of(service.DataService((sys.argv[1],)).check))
"""


def test_a_worker_that_cannot_be_reached_is_reported():
    lone = service.DispatchServer()
    # A separate process, because one of its threads keeps waiting.
    process = subprocess.run(
        warm.python("-c", UNREACHABLE, lone.target),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert process.returncode == 1
    message = f"error: --data_service={lone.target} answers, but its worker does not; restart the"
    assert message in process.stderr and "Traceback" not in process.stderr


def test_a_service_that_ends_is_detected(two):
    (port,) = free_ports(1)
    address = f"grpc://localhost:{port}"
    for watched, told in ((service_of(two), 0), (DataService((two[0].address, address)), 1)):
        lines = []
        with watched.watched(lines.append, every=0.05, patience=0.2):
            time.sleep(1)
        assert len(lines) == told
    assert lines[0].line.startswith(f"--data_service={address} no longer answers")


def test_invalid_ports_are_rejected(capsys):
    # The variable keeps the server alive: it ends with its last reference.
    server = Service()
    taken = int(server.address.rpartition(":")[2])
    for flags, message in (
        ([f"--port={taken}"], f"--port={taken} cannot be used: Address already in use"),
        (["--port=5060", "--worker_port=5060"], "--worker_port=5060 is the port of the dispatcher"),
        (["--port=65535"], "--port=65535 has no port after it for the worker"),
        (["--port=70000"], "--port=70000 is too large; the maximum is 65535"),
    ):
        assert data_service.main(flags) != 0
        assert capsys.readouterr().err.startswith(f"error: {message}")


@pytest.mark.slow
def test_options_that_a_service_does_not_support_are_rejected():
    address = "grpc://host:5050"
    with pytest.raises(ConfigError, match=r"^--data_service=grpc://host:5050,host must be a list"):
        Config(data_service=f"{address},host")
    with pytest.raises(ConfigError, match=r"^--data_service=, must be a list of addresses"):
        Config(data_service=",")
    with pytest.raises(ConfigError, match=r":123456 must be a list of addresses"):
        Config(data_service="grpc://host:123456")
    with pytest.raises(ConfigError, match=r"cannot read archives"):
        Config(dataset="zip:images.zip", data_service=address)
    with pytest.raises(ConfigError, match=r"^--cache=ram cannot be combined with --data_service"):
        Config(cache="ram", data_service=address)
