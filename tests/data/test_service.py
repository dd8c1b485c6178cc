"""Batches made by a data service: those of a single process, in its order."""

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
    """A dispatcher with workers, of which `_num_tasks` tells whether they had any work."""

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
        # Before their dispatcher, for which they would ask on.
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
        # From the middle of an epoch; elements are the shares of replicas in parts.
        {"start_step": 1, "num_hosts": 2, "host": 1, "replicas_per_host": 2, "accumulation": 2},
        {"photometric": Photometric("none")},
    ],
    ids=["whole", "shares", "photometric"],
)
def test_batches_are_the_same_in_the_same_order(root, two, kind, options):
    dataset = kind.format(root)
    # Over the end of an epoch, and no multiple of the workers.
    expected = batches(dataset, 10, **options)
    made = batches(dataset, 10, service=service_of(two), **options)
    for batch, other in zip(made, expected, strict=True):
        assert_same(batch, other)


def test_each_makes_its_part(root, two):
    before = [sum(worker._num_tasks() for worker in each.workers) for each in two]
    batches(f"folder:{root / 'folder'}", 4, service=service_of(two))
    after = [sum(worker._num_tasks() for worker in each.workers) for each in two]
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1]


@pytest.mark.slow
def test_a_run_has_its_batches_from_there(root, two):
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


def test_several_workers_of_one_dispatcher_are_noticed(root):
    several = Service(workers=2)
    with pytest.raises(tf.errors.InvalidArgumentError, match=SEVERAL_WORKERS):
        # Until both have given one.
        batches(f"folder:{root / 'folder'}", 5000, service=service_of([several]))


def test_an_address_that_does_not_answer_is_told(two):
    (port,) = free_ports(1)
    address = f"grpc://localhost:{port}"
    with pytest.raises(RunError, match=rf"^data_service={address} does not answer: "):
        DataService((two[0].address, address)).check()
    service_of(two).check()


UNREACHABLE = """
import sys, pixpro_tf
from pixpro_tf.cli.commands import exit_code_of
from pixpro_tf.data import service
service._SECONDS_TO_ANSWER = 2
sys.exit(exit_code_of(service.DataService((sys.argv[1],)).check))
"""


def test_a_worker_that_cannot_be_reached_is_told():
    lone = service.DispatchServer()
    # In a process of its own, for a thread of it waits on.
    process = subprocess.run(
        warm.python("-c", UNREACHABLE, lone.target),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert process.returncode == 1
    message = (
        f"error: --data_service={lone.target} answers, but its worker does not; give it a --host"
    )
    assert message in process.stderr and "Traceback" not in process.stderr


def test_a_service_that_ends_is_noticed(two):
    (port,) = free_ports(1)
    address = f"grpc://localhost:{port}"
    for watched, told in ((service_of(two), 0), (DataService((two[0].address, address)), 1)):
        lines = []
        with watched.watched(lines.append, every=0.05, patience=0.2):
            time.sleep(1)
        assert len(lines) == told
    assert lines[0].line.startswith(f"--data_service={address} does not answer any more")


def test_ports_that_cannot_be_served_are_refused(capsys):
    # By a name of its own: it ends with its last reference.
    server = Service()
    taken = int(server.address.rpartition(":")[2])
    for flags, message in (
        ([f"--port={taken}"], f"--port={taken} cannot be served: Address already in use"),
        (["--port=5060", "--worker_port=5060"], "--worker_port=5060 is the dispatcher's"),
        (["--port=70000"], "--port=70000 is too large; give at most 65535"),
    ):
        assert data_service.main(flags) != 0
        assert capsys.readouterr().err.startswith(f"error: {message}")


@pytest.mark.slow
def test_what_a_service_cannot_read_is_refused():
    address = "grpc://host:5050"
    with pytest.raises(ConfigError, match=r"^--data_service=grpc://host:5050,host must be addr"):
        Config(data_service=f"{address},host")
    with pytest.raises(ConfigError, match=r"^--data_service=, must be addresses"):
        Config(data_service=",")
    with pytest.raises(ConfigError, match=r"cannot read archives"):
        Config(dataset="zip:images.zip", data_service=address)
    with pytest.raises(ConfigError, match=r"^--cache=ram is of this process"):
        Config(cache="ram", data_service=address)
