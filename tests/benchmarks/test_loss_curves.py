import numpy as np
import pytest
import tensorflow as tf

from benchmarks import loss_curves
from pixpro_tf.errors import RunError


@pytest.fixture
def run(tmp_path):
    """Logs of two processes, the second of which resumed at step 3."""
    for first, last in ((1, 4), (3, 6)):
        with tf.summary.create_file_writer(str(tmp_path)).as_default():
            for step in range(first, last + 1):
                tf.summary.scalar("loss", 10.0 * step, step=step)
                tf.summary.scalar("rate", 0.1, step=step)
                tf.summary.scalar("size", step, step=step)
    return str(tmp_path)


def test_reads_a_curve_from_all_files_of_a_run(run):
    curve = loss_curves.read_curve("mine", run, "loss")
    np.testing.assert_array_equal(curve.steps, [1, 2, 3, 4, 5, 6])
    np.testing.assert_array_equal(curve.values, [10, 20, 30, 40, 50, 60])


def test_reports_a_missing_tag(run):
    with pytest.raises(
        RunError, match="does not contain the scalar Loss/total_loss; it contains loss, rate, size"
    ):
        loss_curves.read_curve("mine", run, "Loss/total_loss")


def test_stretches_are_means(run, tmp_path):
    curve = loss_curves.read_curve("mine", run, "loss")
    smoothed = curve.smoothed(2)
    np.testing.assert_array_equal(smoothed.steps, [2, 5])
    np.testing.assert_array_equal(smoothed.values, [20, 50])
    table = loss_curves.table([curve, curve], 2).splitlines()
    assert table[1].split() == ["2", "20.000", "20.000"] and len(table) == 3


def test_a_panel_for_each_tag(run, tmp_path, capsys):
    for tags in ("loss", "loss,rate", "loss,rate,size"):
        path = tmp_path / f"{tags}.png"
        flags = [f"--runs=mine={run}", f"--tags={tags}", "--stretches=2", f"--output={path}"]
        assert loss_curves.main(flags) == 0
        assert path.stat().st_size > 5000
        printed = capsys.readouterr().out.splitlines()
        assert [line for line in printed if line in ("loss", "rate", "size")] == tags.split(",")


def test_the_lowest_panel_of_each_column_names_its_steps(run):
    curve = loss_curves.read_curve("mine", run, "loss")
    axes = loss_curves.draw({"a": [curve], "b": [curve], "c": [curve]}, 2).axes
    assert [each.get_xlabel() for each in axes] == ["", "step", "step"]
    assert [each.xaxis.get_tick_params()["labelbottom"] for each in axes] == [False, True, True]
