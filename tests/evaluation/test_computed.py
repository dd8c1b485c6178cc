"""Arrays of batches: an interrupted evaluation computes no batch again, and gives the same result."""

import json
import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pixpro_tf.cli.commands import exit_code_of
from pixpro_tf.errors import RunError
from pixpro_tf.evaluation import computed, correspondence, dense, linear
from tests.support.labelled import write_images


@pytest.fixture
def batches():
    """Four batches, the last of which is smaller."""
    numbers = tf.data.Dataset.range(10)
    return tf.data.Dataset.zip((numbers, numbers)).batch(3)


def compute_all(batches, folder, seen, stop_at=None, lines=None):
    def compute(numbers, labels):
        if len(seen) == stop_at:
            raise KeyboardInterrupt
        seen.append(numbers.numpy())
        return np.square(numbers.numpy()), labels.numpy()

    return computed.of_all_batches(
        compute, batches, "batches", str(folder), lambda line: (lines or []).append(line)
    )


def values_of(found):
    return [np.concatenate(column).tolist() for column in zip(*found, strict=True)]


def test_an_interrupted_computation_continues_with_the_next_batch(batches, tmp_path):
    seen, lines = [], [""]
    with pytest.raises(KeyboardInterrupt):
        compute_all(batches, tmp_path / "kept", seen, stop_at=2)
    found = compute_all(batches, tmp_path / "kept", seen, lines=lines)
    assert [len(each) for each in seen] == [3, 3, 3, 1]
    assert lines == ["", "Continuing after 2 of 4 batches"]
    expected = [[number**2 for number in range(10)], [*range(10)]]
    assert values_of(found) == expected
    # Everything is kept, for an interruption of what follows.
    assert values_of(compute_all(batches, tmp_path / "kept", seen)) == expected
    assert len(seen) == 4


def test_arrays_are_kept_at_intervals(batches, tmp_path, monkeypatch):
    monkeypatch.setattr(computed, "_SECONDS_BETWEEN_FILES", -1)
    compute_all(batches, tmp_path, [])
    assert len(list(tmp_path.glob("batches-*.npz"))) == 4


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "missing"])
def test_batches_of_a_damaged_file_are_computed_again(batches, tmp_path, monkeypatch, damage):
    monkeypatch.setattr(computed, "_SECONDS_BETWEEN_FILES", -1)
    expected = values_of(compute_all(batches, tmp_path, []))
    path = tmp_path / "batches-000000001.npz"
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "flipped":
        content[content.index(b"\x93NUMPY") + 130] ^= 255
        path.write_bytes(content)
    else:
        path.write_bytes(content[: 100 if damage == "cut" else 0])
    seen, lines = [], [""]
    assert values_of(compute_all(batches, tmp_path, seen, lines=lines)) == expected
    # Files after a gap are not used.
    assert len(seen) == 3
    assert any("is damaged (" in line for line in lines)


def test_nothing_is_kept_without_a_folder(batches, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    compute_all(batches, "", [])
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_an_error(batches, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"file/kept cannot be written: .*; make it writable"):
        compute_all(batches, tmp_path / "file" / "kept", [])


def _masks(folder):
    for split in ("train", "validation"):
        write_images(folder / split / "images", {f"{name}.png": (32, 32) for name in "abcd"})
        (folder / split / "masks").mkdir()
        for name in "abcd":
            mask = Image.new("L", (32, 32), 0)
            mask.paste(1, (8, 8, 24, 24))
            mask.save(folder / split / "masks" / f"{name}.png")
    (folder / "classes.txt").write_text("ground\nthing\n")
    return [f"--dataset=folder:{folder}", "--epochs=2"]


def _classes(folder):
    for split in ("train", "validation"):
        for name in ("cat", "dog"):
            write_images(folder / split / name, {f"{each}.png": (32, 32) for each in "abc"})
    return [f"--dataset=folder:{folder}", "--mode=knn", "--neighbours=2", "--image_size=32"]


def _pairs(folder):
    write_images(folder, {f"{name}.png": (48, 48) for name in "abcd"})
    return [f"--dataset=folder:{folder}", "--image_size=48", "--pairs=7"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "flags"), [(dense, _masks), (linear, _classes), (correspondence, _pairs)]
)
def test_an_interrupted_evaluation_has_the_same_result(
    module, flags, tmp_path, monkeypatch, capsys
):
    flags = [*flags(tmp_path / "images"), "--from=random:resnet10w0.5", "--batch_size=2"]
    assert module.main([*flags, f"--output={tmp_path / 'whole'}"]) == 0
    of_all_batches = computed.of_all_batches

    def interrupted(compute, *arguments):
        calls = []

        def compute_until(*batch):
            calls.append(batch)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return compute(*batch)

        return of_all_batches(compute_until, *arguments)

    again = [*flags, f"--output={tmp_path / 'cut'}"]
    with monkeypatch.context() as patched:
        patched.setattr(computed, "of_all_batches", interrupted)
        assert exit_code_of(lambda: module.main(again)) == 130
    capsys.readouterr()
    assert module.main(again) == 0
    assert "Continuing after 1 of " in capsys.readouterr().out
    whole, cut = (
        json.loads((tmp_path / name / "results.json").read_text()) for name in ("whole", "cut")
    )
    for results in (whole, cut):
        del results["settings"]
    assert cut == whole
    assert not (tmp_path / "partial_cut").exists()
