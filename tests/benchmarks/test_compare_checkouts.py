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
    # The printed seconds of such a small step have only two significant digits.
    assert ratio == pytest.approx(ours / theirs, rel=0.1)
    assert last == f"median ratio {ratio:.3f} ({ratio:.3f} to {ratio:.3f})"


def test_rejects_a_folder_without_a_checkout(tmp_path, capsys):
    assert compare_checkouts.main([f"--other={tmp_path}", "--flags=--epochs=1"]) == 2
    assert "does not contain train.py; pass the folder of a checkout" in capsys.readouterr().err


def test_rejects_flags_with_an_unclosed_quotation_mark(capsys):
    assert compare_checkouts.main([f"--other={ROOT}", "--flags=--dataset='a"]) == 2
    assert "--flags=--dataset='a cannot be split into flags: " in capsys.readouterr().err


def test_reports_a_failed_run_in_one_line(capsys):
    assert compare_checkouts.main([f"--other={ROOT}", "--flags=--epochs=0"]) == 1
    assert "train.py failed: error: --epochs=0 is too small" in capsys.readouterr().err


@pytest.mark.thorough
def test_rejects_a_run_that_is_too_short(tiny_flags, capsys):
    flags = shlex.join([*tiny_flags, "--max_steps=2"])
    assert compare_checkouts.main([f"--other={ROOT}", f"--flags={flags}"]) == 1
    assert (
        "too short to time; in --flags, pass --max_steps greater than 2" in capsys.readouterr().err
    )
