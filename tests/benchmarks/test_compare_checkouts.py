import re

import pytest

from benchmarks import compare_checkouts
from tests.conftest import ROOT


@pytest.mark.thorough
def test_both_checkouts_are_timed(tiny_flags, capsys):
    compare_checkouts.main([f"--other={ROOT}", "--rounds=1", "--", *tiny_flags, "--max_steps=5"])
    first, last = capsys.readouterr().out.splitlines()
    found = re.fullmatch(r"round 1: other (.+) s, this (.+) s a step, ratio (.+)", first)
    theirs, ours, ratio = map(float, found.groups())
    assert theirs > 0 and ours > 0
    # The seconds of so small a step have two digits.
    assert ratio == pytest.approx(ours / theirs, rel=0.1)
    assert last == f"median ratio {ratio:.3f} ({ratio:.3f} to {ratio:.3f})"


def test_a_folder_without_a_checkout_is_refused(tmp_path):
    with pytest.raises(SystemExit, match=r"has no train.py; give the folder of a checkout"):
        compare_checkouts.main([f"--other={tmp_path}"])


def test_a_run_that_fails_is_one_line():
    with pytest.raises(SystemExit, match=r"train.py failed: error: --epochs=0 is too small"):
        compare_checkouts.main([f"--other={ROOT}", "--", "--epochs=0"])


@pytest.mark.thorough
def test_a_run_that_is_too_short_is_told(tiny_flags):
    with pytest.raises(SystemExit, match="give --max_steps of more than 2"):
        compare_checkouts.main([f"--other={ROOT}", "--", *tiny_flags, "--max_steps=2"])
