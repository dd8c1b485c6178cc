"""Tests that the catalogue of deliberate faults matches the code."""

import dataclasses

import pytest

from tests.conftest import ROOT
from tests.faults import __main__ as faults
from tests.faults.catalogue import FAULTS


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_matches_exactly_one_position(fault):
    source = (ROOT / fault.path).read_text()
    assert source.count(fault.old) == 1
    changed = source.replace(fault.old, fault.new)
    assert changed != source
    compile(changed, fault.path, "exec")


def test_fault_names_are_unique():
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)


def test_a_copy_of_the_tree_has_all_that_tests_import(tmp_path):
    """Otherwise their collection fails, and every fault counts as caught."""
    faults.copy_to(tmp_path)
    for name in ("pixpro_tf", "tests", "examples", "benchmarks", "export", "scripts"):
        programs = {path.relative_to(ROOT) for path in (ROOT / name).rglob("*.py")}
        assert not [each for each in programs if not (tmp_path / each).is_file()], name
    assert (tmp_path / "pyproject.toml").exists()


def test_a_fault_that_changes_nothing_survives(tmp_path):
    fault = dataclasses.replace(FAULTS[0], new=FAULTS[0].old)
    faults.plant(fault, tmp_path)
    assert (
        faults.first_failure(["tests/test_faults.py::test_fault_names_are_unique"], tmp_path)
        is None
    )
