"""Runs that end early resume bit for bit, however they ended."""

import os
import pty
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT
from tests.support import warm
from tests.support.runs import assert_bit_identical, cluster_of_two, free_ports, slurm_step_of_two
from tests.support.tiny_run import STEPS, metrics_of, weights_of


@pytest.mark.thorough
def test_two_runs_with_one_seed_are_identical(whole_run, tiny_flags, tmp_path):
    flags = [*tiny_flags, f"--run_dir={tmp_path}", "--checkpoint_every=7", "--keep_every=4"]
    # A separate process has a different hash order.
    subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *flags], check=True, capture_output=True
    )
    assert_bit_identical(weights_of(whole_run[0]), weights_of(tmp_path))
    timings = ("images_per_second", "data_wait_share")
    for first, second in zip(metrics_of(whole_run[0]), metrics_of(tmp_path), strict=True):
        for name in first.keys() - set(timings):
            assert first[name] == second[name], name


@pytest.mark.slow
@pytest.mark.parametrize("kills", [1, pytest.param(5, marks=pytest.mark.thorough)])
def test_killed_run_ends_bit_identical(whole_run, tiny_flags, tmp_path, kills):
    """Kills a run with SIGKILL at random steps and restarts it, in separate processes with different hash orders."""
    command = [sys.executable, str(ROOT / "train.py"), *tiny_flags, f"--run_dir={tmp_path}"]
    command += ["--checkpoint_every=7", "--keep_every=4", "--log_every=1"]
    seed = random.randrange(2**32)
    draw = random.Random(seed)
    # Far enough from the end that a process which is not killed immediately is still running.
    steps = sorted(draw.sample(range(2, STEPS - 15), kills))
    for number, step in enumerate(steps):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for line in process.stdout:
            found = re.search(r"step (\d+)/", line)
            if found and int(found[1]) >= step:
                # The delay is random so that the kill does not always come at the end of a step.
                time.sleep(draw.uniform(0, 0.1))
                process.send_signal(signal.SIGKILL)
                break
        process.stdout.close()
        assert process.wait() == -signal.SIGKILL, f"seed {seed}, kill {number} at step {step}"
    subprocess.run(command, check=True, capture_output=True)
    assert_bit_identical(weights_of(whole_run[0]), weights_of(tmp_path))
    assert [line["step"] for line in metrics_of(tmp_path)] == list(range(1, STEPS + 1))


@pytest.mark.slow
@pytest.mark.parametrize("hangs_up", [True, False])
def test_a_run_outlives_its_output(whole_run, tiny_flags, train, tmp_path, hangs_up):
    """The terminal closes, which sends SIGHUP, or the reader of a pipe ends."""
    flags = [*tiny_flags, f"--run_dir={tmp_path}", "--checkpoint_every=1000", "--log_every=1"]
    ours, its = pty.openpty() if hangs_up else os.pipe()
    process = subprocess.Popen(
        warm.python(ROOT / "train.py", *flags), stdout=its, stderr=subprocess.PIPE
    )
    os.close(its)
    seen = b""
    while b"step 5/" not in seen:
        seen += os.read(ours, 1000)
    os.close(ours)
    if hangs_up:
        process.send_signal(signal.SIGHUP)
    _, errors = process.communicate()
    # On a busy machine, the run can end before the signal comes.
    assert process.returncode in ((128 + signal.SIGHUP, 0) if hangs_up else (0,))
    assert b"Traceback" not in errors and b"error" not in errors
    train(*flags)
    assert_bit_identical(weights_of(whole_run[0]), weights_of(tmp_path))


@pytest.mark.slow
def test_signal_saves_and_the_same_command_resumes(whole_run, tiny_flags, train, tmp_path):
    flags = [*tiny_flags, f"--run_dir={tmp_path}", "--checkpoint_every=1000", "--log_every=1"]
    stopped = 0
    for number, step in ((signal.SIGTERM, 13), (signal.SIGINT, 33)):
        process = subprocess.Popen(
            warm.python(ROOT / "train.py", *flags), stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        output = []
        for line in process.stdout:
            output.append(line)
            if f"step {step}/" in line:
                process.send_signal(number)
        assert process.wait() == 128 + number
        name = signal.Signals(number).name
        # A signal may arrive some steps later on a busy machine.
        found = re.search(rf"Stopped by {name} at step (\d+) of 60", "".join(output))
        assert found and step <= int(found[1]) < 60
        assert not stopped or f"resuming from step {stopped}\n" in "".join(output)
        stopped = int(found[1])
        assert "The same command resumes" in output[-1]
    assert f"resuming from step {stopped}\n" in train(*flags).stdout
    assert_bit_identical(weights_of(whole_run[0]), weights_of(tmp_path))


@pytest.mark.slow
@pytest.mark.thorough
def test_lamb_trains_and_resumes(train, tiny_flags, tmp_path):
    flags = [*tiny_flags, "--optimizer=lamb", "--base_lr=0.3"]
    assert_goes_on_from_the_middle(train, flags, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "cluster", ["tf_config", pytest.param("slurm", marks=pytest.mark.thorough)]
)
def test_workers_stop_after_the_same_step_if_one_receives_a_signal(tiny_flags, tmp_path, cluster):
    flags = [*tiny_flags, f"--run_dir={tmp_path}", "--strategy=multi_worker", "--log_every=1"]
    flags.append(f"--cluster={cluster}")
    environments = [{"TF_CONFIG": text} for text in cluster_of_two(chief=True)]
    if cluster == "slurm":
        environments = slurm_step_of_two()
    workers = [
        subprocess.Popen(
            warm.python(ROOT / "train.py", *flags),
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for environment in environments
    ]
    chief, other = workers
    assert chief.stdout is not None
    output = []
    for line in chief.stdout:
        output.append(line)
        if "step 4/" in line:
            other.send_signal(signal.SIGTERM)
    codes = [worker.wait(timeout=120) for worker in workers]
    assert codes == [128 + signal.SIGTERM] * 2, "".join(output)
    assert "Stopped by SIGTERM at step" in output[-1]
    assert len(list((tmp_path / "checkpoints").glob("step-*.index"))) == 1


@pytest.mark.slow
def test_workers_with_different_folders_refuse_to_start(whole_run, tiny_flags, tmp_path):
    """Otherwise a worker that finds no checkpoint would start at step 0 while another one resumes."""
    folders = [tmp_path / name for name in ("first", "second")]
    shutil.copytree(whole_run[0], folders[0])
    flags = [*tiny_flags, "--strategy=multi_worker", "--checkpoint_every=7", "--keep_every=4"]
    workers = [
        subprocess.Popen(
            warm.python(ROOT / "train.py", *flags, f"--run_dir={folder}"),
            env=os.environ | {"TF_CONFIG": text},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for text, folder in zip(cluster_of_two(), folders, strict=True)
    ]
    for worker, step in zip(workers, (60, 0), strict=True):
        _, errors = worker.communicate(timeout=120)
        assert worker.returncode == 1, errors
        assert (
            f"the workers differ: this worker starts at step {step}, the mean of all workers is 30.0"
            in errors
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "devices"),
    [
        ((), 1),
        pytest.param(
            ("--strategy=mirrored", "--num_devices=2", "--precision=float16"),
            2,
            marks=pytest.mark.thorough,
        ),
    ],
    ids=["one_device", "mirrored"],
)
def test_cached_run_with_micro_batches_resumes_bit_for_bit(
    train, tiny_flags, tmp_path, flags, devices
):
    flags = [*tiny_flags, *flags, "--gradient_accumulation=2", "--cache=ram"]
    flags += ["--augment_on=device", "--augmentation=byol"]
    printed = assert_goes_on_from_the_middle(train, flags, tmp_path)
    assert "Reading 48 images into memory" in printed
    assert f" on {devices} x CPU" in printed and "of 8 an epoch, each in 2 micro-batches" in printed


@pytest.mark.slow
def test_data_service_delivers_the_same_views(train, tiny_flags, tmp_path):
    ports = free_ports(4)
    command = ("-m", "pixpro_tf.data_service", "--host=localhost")
    services = [
        subprocess.Popen(
            warm.python(*command, f"--port={port}", f"--worker_port={worker_port}"),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for port, worker_port in (ports[:2], ports[2:])
    ]
    addresses = [f"grpc://localhost:{port}" for port in ports[::2]]
    try:
        for service, address in zip(services, addresses, strict=True):
            assert service.stdout is not None
            assert f"Serving at --data_service={address}" in service.stdout.readline()
        flag = f"--data_service={','.join(addresses)}"
        assert_goes_on_from_the_middle(train, tiny_flags, tmp_path, then=[flag])
        for service in services:
            service.send_signal(signal.SIGINT)
            _, errors = service.communicate(timeout=60)
            assert service.returncode == 128 + signal.SIGINT
            assert errors.endswith("Stopped.\n") and "Traceback" not in errors
    finally:
        for service in services:
            service.kill()


def assert_goes_on_from_the_middle(train, flags, tmp_path, then=()):
    """Asserts that a run of four steps, and its copy resumed from step 2, end identically; returns the output of the copy.

    Args:
        train: fixture of that name.
        flags: flags of both runs.
        tmp_path: folder for both runs.
        then: additional flags of the copy.
    """
    whole, half = tmp_path / "whole", tmp_path / "half"
    flags = [*flags, "--max_steps=4", "--checkpoint_every=2"]
    train(*flags, f"--run_dir={whole}")
    shutil.copytree(whole, half)
    for path in (half / "checkpoints").glob("step-4.*"):
        path.unlink()
    printed = train(*flags, *then, f"--run_dir={half}").stdout
    assert "resuming from step 2" in printed
    assert_bit_identical(weights_of(whole, 4), weights_of(half, 4))
    return printed
