"""The catalogue of deliberate faults fits the code that it is planted in."""

import pytest

from tests.conftest import ROOT
from tests.faults.catalogue import FAULTS


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_has_one_place(fault):
    source = (ROOT / fault.path).read_text()
    assert source.count(fault.old) == 1
    changed = source.replace(fault.old, fault.new)
    assert changed != source
    compile(changed, fault.path, "exec")


def test_faults_have_names_of_their_own():
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
