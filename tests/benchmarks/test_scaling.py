import dataclasses
import json
import os
import time

import pytest

from benchmarks import clusters, scaling
from pixpro_tf.errors import RunError

ONE_HOST = clusters.Network(8, link=1e9, link_latency=1e-3, network=1e8, network_latency=1e-2)
COST = clusters.Cost([1.0], [8, 4_000_000, 12], 4_000_000, 1e9)


@pytest.mark.thorough
def test_all_kinds_of_scaling_are_measured_and_written(tmp_path, capsys):
    path = tmp_path / "scaling.json"
    flags = ["--backbone=resnet10w0.5", "--image_size=64", "--batch_size=4", "--repeats=2"]
    assert scaling.main([*flags, "--pairs_per_core=100", f"--json={path}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[1:7]] == [
        *2 * ["1 core"],
        *2 * ["2 logical CPUs"],
        *2 * ["2 processes"],
    ]
    content = json.loads(path.read_text())
    by_name = {}
    for each in content["measured"]:
        assert len(each["cost"]["seconds"]) == 2 and min(each["cost"]["seconds"]) > 0
        by_name[each["case"]["devices"]] = each["cost"]
    for devices in (scaling.LOGICAL_CPUS, scaling.PROCESSES):
        gradients, others = clusters.parts_of(by_name[devices]["reduced"])
        assert gradients == by_name[devices]["parameter_bytes"]
        # Moments of 12 normalisations in the backbone and 1 in the projector, of both views at once, in the online and the target network;
        # their gradients in the online network; the metrics.
        assert len(others) == 13 * (2 + 1) + 1
    assert by_name[scaling.ALONE]["flops_per_image"] > 1e8
    assert [each["accelerators"] for each in content["computed"]] == [8, 64, 512, 64, 512]


@pytest.mark.slow
def test_a_failed_process_stops_the_others():
    case = scaling.Case(scaling.PROCESSES, 2, 4, "resnet10w0.5", 64, 1)
    started = time.monotonic()
    with pytest.raises(RunError, match=r"2 processes failed: .*--image_size=3"):
        scaling.measured_apart(dataclasses.replace(case, image_size=3))
    assert time.monotonic() - started < 60


def test_a_host_uses_a_ring():
    # Each link carries 7/8 of the bytes twice, in 14 messages.
    assert ONE_HOST.all_reduce(8e9, 8) == pytest.approx(14 * (1 + 1e-3))
    assert ONE_HOST.all_reduce(1e9, 1) == 0


def test_hosts_use_the_faster_of_ring_and_tree():
    within = ONE_HOST.all_reduce(1e9, 8)
    # Many bytes: a ring of 4 hosts carries 3/4 of them twice.
    assert ONE_HOST.all_reduce(1e9, 32) - within == pytest.approx(6 * (1e9 / 4 / 1e8 + 1e-2))
    # Few bytes: a tree of 4 hosts takes two times two messages.
    few = ONE_HOST.all_reduce(8, 32) - ONE_HOST.all_reduce(8, 8)
    assert few == pytest.approx(4e-2, rel=1e-3)


def test_a_step_is_the_sum_of_its_parts():
    found = clusters.forecast(COST, ONE_HOST, tflops=0.1, accelerators=8, batch_each=16)
    assert found.compute == pytest.approx(0.16)
    assert found.gradients == pytest.approx(14 * (4e6 / 8 / 1e9 + 1e-3))
    assert found.moments == pytest.approx(2 * 14 * 1e-3, rel=1e-3)
    assert found.images_per_second == pytest.approx(128 / found.step)
    head, row = clusters.forecast_table([found], pairs_per_core=50).splitlines()
    assert head.endswith("cores for each")
    assert row.split()[-1] == f"{16 / found.step / 50:.1f}"
    assert "cores" not in clusters.forecast_table([found], pairs_per_core=0)


def test_efficiency_is_relative_to_one_core():
    alone = scaling.Case(scaling.ALONE, 1, 8, "resnet18", 64, 1)
    costs = {
        alone: dataclasses.replace(COST, seconds=[4.0]),
        dataclasses.replace(alone, batch_size=4): dataclasses.replace(COST, seconds=[2.5]),
        dataclasses.replace(alone, devices=scaling.PROCESSES, replicas=2): dataclasses.replace(
            COST, seconds=[2.5]
        ),
    }
    rows = scaling.measured_table(costs, 8).splitlines()[1:]
    assert [(row.split()[-1], row.split()[0]) for row in rows] == [
        ("100%", "1"),
        ("100%", "1"),
        # 3.2 images/s, relative to two times 2 and to two times 1.6.
        ("80%", "2"),
        ("100%", "2"),
    ]
    assert "strong" in rows[2] and "weak" in rows[3]


def test_describes_what_a_step_sums():
    text = scaling.reduced_text(COST)
    assert "1.0000 of the trained parameters' 3.8 MiB); 2 other tensors" in text


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--batch_size=7"], "--batch_size=7 must be divisible by the number of replicas, 2"),
        (["--replicas=1"], "--replicas=1 must contain a number greater than 1"),
        (["--per_host=6"], "--per_host=6 does not divide 8 accelerators into whole hosts"),
        (["--tflops=0"], "--tflops=0.0 must be greater than 0"),
        (["--replicas=1000", "--batch_size=1000"], "--replicas=1000 exceeds the"),
    ],
)
def test_reports_invalid_flags(flags, problem, monkeypatch, capsys):
    if problem.startswith("--batch"):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    assert scaling.main(flags) == 2
    assert problem in capsys.readouterr().err
