import json

import pytest

from benchmarks import propagation


@pytest.mark.thorough
@pytest.mark.parametrize("loss", propagation.LOSSES)
def test_both_forms_are_measured_and_written(loss, tmp_path, capsys):
    path = tmp_path / "figures.json"
    flags = ["--sizes=12x10x1", f"--loss={loss}", "--repeats=2", f"--json={path}"]
    assert propagation.main(flags) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert "dense" in head and "blockwise" in head
    assert row.startswith("12x10x1") and "120" in row
    costs = json.loads(path.read_text())["results"]["12x10x1"]
    for form in propagation.FORMS:
        assert len(costs[form]["seconds"]) == 2 and min(costs[form]["seconds"]) > 0
        assert costs[form]["megabytes"] > 0


@pytest.mark.slow
def test_memory_of_a_large_map_stays_below_its_limit(tmp_path):
    """Propagation and loss of four maps of 56 x 56 x 256 take at most 300 MB in addition to the inputs."""
    path = tmp_path / "figures.json"
    flags = ["--sizes=56x56x4", "--forms=blockwise", "--repeats=1", f"--json={path}"]
    assert propagation.main(flags) == 0
    cost = json.loads(path.read_text())["results"]["56x56x4"]["blockwise"]
    assert cost["megabytes"] <= 300


def test_rejects_an_invalid_size(capsys):
    assert propagation.main(["--sizes=56x56"]) == 2
    assert (
        "--sizes=56x56 contains the invalid size 56x56; use HEIGHTxWIDTHxIMAGES"
        in capsys.readouterr().err
    )


def test_table_shows_the_ratio_of_medians():
    costs = {"dense": propagation.Cost([1.0, 2.0, 9.0], 10.0)} | {
        "blockwise": propagation.Cost([3.0, 3.0, 3.0], 5.0)
    }
    row = propagation.table([("10x10x2", costs)]).splitlines()[1]
    assert "2.000 s (1.000..9.000)" in row and row.endswith("1.50")
    assert "50.0" in row and "25.0" in row
    row = propagation.table([("10x10x2", costs | {"dense": None})]).splitlines()[1]
    assert "not measured" in row and "1.50" not in row
