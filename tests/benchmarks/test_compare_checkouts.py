import re
import shlex

import pytest

from benchmarks import compare_checkouts
from tests.conftest import ROOT


@pytest.mark.thorough
def test_both_checkouts_are_timed(tiny_flags, capsys):
    flags = shlex.join([*tiny_flags, "--max_steps=5"])
    assert compare_checkouts.main([f"--other={ROOT}", "--rounds=1", f"--flags={flags}"]) == 0
    first, last = capsys.readouterr().out.splitlines()
    found = re.fullmatch(r"round 1: other (.+) s, this (.+) s a step, ratio (.+)", first)
    theirs, ours, ratio = map(float, found.groups())
    assert theirs > 0 and ours > 0
    # The seconds of so small a step have two digits.
    assert ratio == pytest.approx(ours / theirs, rel=0.1)
    assert last == f"median ratio {ratio:.3f} ({ratio:.3f} to {ratio:.3f})"


def test_a_folder_without_a_checkout_is_refused(tmp_path, capsys):
    assert compare_checkouts.main([f"--other={tmp_path}", "--flags=--epochs=1"]) == 2
    assert "has no train.py; give the folder of a checkout" in capsys.readouterr().err


def test_a_run_that_fails_is_one_line(capsys):
    assert compare_checkouts.main([f"--other={ROOT}", "--flags=--epochs=0"]) == 1
    assert "train.py failed: error: --epochs=0 is too small" in capsys.readouterr().err


@pytest.mark.thorough
def test_a_run_that_is_too_short_is_told(tiny_flags, capsys):
    flags = shlex.join([*tiny_flags, "--max_steps=2"])
    assert compare_checkouts.main([f"--other={ROOT}", f"--flags={flags}"]) == 1
    assert "give --max_steps of more than 2" in capsys.readouterr().err
