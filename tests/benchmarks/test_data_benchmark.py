import json

import numpy as np
import pytest
from PIL import Image

from benchmarks import data, data_stages


@pytest.mark.thorough
def test_every_stage_is_measured_and_written(tmp_path, capsys):
    path = tmp_path / "rates.json"
    flags = ["--images=8", "--batch_size=4", "--image_size=32", "--rounds=2", "--seconds=0.3"]
    assert data.main([*flags, f"--json={path}"]) == 0
    rates = json.loads(path.read_text())["images_per_second"]
    assert all(len(each) == 2 and min(each) > 0 for each in rates.values())
    # Each stage includes the previous one.
    names = ["read", "read, decode", "read, decode, crop and resize"]
    medians = [np.median(rates[name]) for name in names]
    assert medians == sorted(medians, reverse=True)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("8 JPEGs of 500 x 375, ")
    assert [line.split("  ")[0] for line in printed[2:]] == list(rates)
    assert set(names) < rates.keys() and data.ON_ALL_CORES in rates
    assert {f"pipeline, --augment_on={where}" for where in ("host", "device")} < rates.keys()


def test_images_are_photographs_of_imagenet_size(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        data_stages.write_images(tmp_path / name, 12)
    files = sorted((tmp_path / "one").iterdir())
    assert len(files) == 12
    for file in files:
        assert file.read_bytes() == (tmp_path / "other" / file.name).read_bytes()
        with Image.open(file) as image:
            assert image.format == "JPEG" and image.size == (500, 375)
            assert np.std(np.asarray(image)) > 5


def test_table_shows_medians_ranges_and_units():
    rows = data.table({"read": [9.0, 1.0, 5.0], data.ON_ALL_CORES: [40.0]}, 16).splitlines()
    assert rows[1].split() == ["read", "1", "5.0", "1..9", "images"]
    assert rows[2].split()[-4:] == ["16", "40.0", "40..40", "pairs"]


@pytest.mark.parametrize(
    ("flag", "problem"),
    [
        ("--batch_size=300", "--batch_size=300 must be at most --images=220"),
        ("--rounds=0", "--rounds=0 is too small; the minimum is 1"),
    ],
)
def test_reports_invalid_flags(flag, problem, capsys):
    assert data.main([flag]) == 2
    assert problem in capsys.readouterr().err
