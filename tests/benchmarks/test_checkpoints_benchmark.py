"""Benchmarks of checkpoints and of sources of images, in small sizes."""

import json

import pytest

from benchmarks import checkpoints, sources


@pytest.mark.slow
def test_checkpoints_are_measured_in_both_ways(tmp_path, capsys):
    flags = ["--backbone=resnet10w0.5", "--projector_hidden=64", "--repeats=2"]
    assert checkpoints.main([*flags, f"--folder={tmp_path}", f"--json={tmp_path / 'r.json'}"]) == 0
    seconds = json.loads((tmp_path / "r.json").read_text())["seconds"]
    assert list(seconds) == ["while it waits", "in the background"]
    for each in seconds.values():
        assert len(each["waits"]) == 2
        assert all(waits <= done for waits, done in zip(each["waits"], each["done"], strict=True))
    printed = capsys.readouterr().out
    assert "resnet10w0.5: checkpoints of " in printed and "in the background" in printed
    # Nothing is left in the folder.
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]


def test_the_share_is_that_of_the_time_between_two_checkpoints():
    found = {"in the background": {"waits": [3.0, 1.0, 2.0], "done": [4.0, 4.0, 5.0]}}
    (_, row) = checkpoints.table(found, 100.0).splitlines()
    assert row.split() == [
        *("in", "the", "background"),
        *("2.00", "s", "(1.00..3.00)", "2.00%"),
        *("4.00", "s", "(4.00..5.00)"),
    ]


@pytest.mark.slow
def test_every_source_is_measured(tmp_path, capsys):
    pytest.importorskip("skimage")
    flags = ["--images=8", "--batch_size=4", "--image_size=32", "--rounds=1", "--seconds=0.05"]
    assert sources.main([*flags, f"--json={tmp_path / 'r.json'}"]) == 0
    rates = json.loads((tmp_path / "r.json").read_text())["pairs_per_second"]
    assert len(rates) == 6 and all(rate > 0 for each in rates.values() for rate in each)
    assert "zip:, deflated" in capsys.readouterr().out
