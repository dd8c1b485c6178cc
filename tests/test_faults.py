"""Tests that the catalogue of deliberate faults matches the code."""

import pytest

from tests.conftest import ROOT
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
