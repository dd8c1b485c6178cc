"""Detection of a folder's checkpoints from its files, whatever TensorFlow's list of them contains."""

import pytest

import pixpro_tf  # noqa: F401 - chooses Keras 2, so it comes before TensorFlow

# isort: split
import tensorflow as tf

from pixpro_tf.storage import checkpoint_files
from pixpro_tf.storage.checkpoint_files import checkpoints_in, damage_of, left_over_files


@pytest.fixture
def folder(tmp_path):
    """Folder with steps 9, 10 and 100, which TensorFlow's list does not contain, and steps 4 and 10 kept permanently."""
    checkpoint = tf.train.Checkpoint(weights=tf.Variable(tf.range(1000.0)))
    for step in ("step-9", "step-100", "step-10", "kept/step-4", "kept/step-10"):
        checkpoint.write(str(tmp_path / step))
    return tmp_path


def names(folder, paths):
    return [path.removeprefix(f"{folder}/") for path in paths]


def test_checkpoints_are_sorted_by_number_newest_first(folder):
    found = ["step-100", "step-10", "kept/step-10", "step-9", "kept/step-4"]
    assert names(folder, checkpoints_in(str(folder))) == found
    assert not left_over_files(str(folder))


@pytest.mark.parametrize("text", [None, "", "garbled\0", 'model_checkpoint_path: "step-9"'])
def test_tensorflows_list_is_ignored(folder, text):
    if text is not None:
        (folder / "checkpoint").write_text(text)
    assert checkpoints_in(str(folder))[0] == str(folder / "step-100")


def test_unfinished_and_unrelated_files_are_not_checkpoints(tmp_path):
    for name in ("step-1_temp", "step-2.index.tempstate123", "step-x.index", "my-step-3.index"):
        (tmp_path / name).touch()
    assert not checkpoints_in(str(tmp_path)) and not left_over_files(str(tmp_path))
    assert not checkpoints_in(str(tmp_path / "nowhere"))


def test_files_without_an_index_are_left_over(folder):
    (folder / "step-10.index").unlink()
    assert names(folder, left_over_files(str(folder))) == ["step-10.data-00000-of-00001"]
    assert "step-10" not in names(folder, checkpoints_in(str(folder)))


def test_an_older_checkpoint_is_found_in_place_of_an_incomplete_one_and_said_once(folder, capsys):
    for _ in range(2):
        assert checkpoint_files.find_checkpoint(str(folder)) == str(folder / "step-100")
    assert not capsys.readouterr().out
    (folder / "step-100.index").unlink()
    for _ in range(2):
        assert checkpoint_files.find_checkpoint(str(folder)) == str(folder / "step-10")
    line = f"{folder}/step-100 is incomplete; using {folder}/step-10"
    assert capsys.readouterr().out.splitlines() == [line]


def test_intact_checkpoint_has_no_damage(folder):
    assert damage_of(str(folder / "step-9")) is None


@pytest.mark.parametrize("suffix", ["index", "data-00000-of-00001"])
@pytest.mark.parametrize("how", ["cut", "emptied", "flipped", "removed"])
def test_damage_is_described_in_one_line(folder, suffix, how):
    path = folder / f"step-9.{suffix}"
    content = bytearray(path.read_bytes())
    if how == "removed":
        path.unlink()
    elif how == "flipped":
        content[len(content) // 3] ^= 1
        path.write_bytes(content)
    else:
        path.write_bytes(content[: len(content) // 2 if how == "cut" else 0])
    reason = damage_of(str(folder / "step-9"))
    assert reason and "\n" not in reason


def test_every_changed_byte_is_detected(folder):
    """Checks every seventeenth byte of both files, except the last 48 of the index, which include unused zeros."""
    unseen = []
    for name, unread in (("step-9.index", 48), ("step-9.data-00000-of-00001", 0)):
        path = folder / name
        whole = path.read_bytes()
        for place in range(0, len(whole) - unread, 17):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
            if not damage_of(str(folder / "step-9")):
                unseen.append((path.suffix, place, len(whole)))
        path.write_bytes(whole)
    assert not unseen


def test_deletion_affects_one_checkpoint_only(folder):
    checkpoint_files.delete(str(folder / "step-10"))
    assert "step-10" not in names(folder, checkpoints_in(str(folder)))
    assert len(checkpoints_in(str(folder))) == 4 and not left_over_files(str(folder))


def test_tensorflow_finds_the_listed_checkpoint(folder):
    checkpoint_files.list_for_tensorflow(
        str(folder), [str(folder / "step-9"), str(folder / "step-10")]
    )
    assert tf.train.latest_checkpoint(str(folder)) == str(folder / "step-10")


def test_files_are_on_the_disk_before_they_have_their_names(tmp_path, monkeypatch):
    """A power cut must not leave an empty file under the name of a complete one."""
    done = []
    monkeypatch.setattr(checkpoint_files, "_flush", lambda path: done.append(("flush", path)))
    rename = tf.io.gfile.rename
    monkeypatch.setattr(
        tf.io.gfile,
        "rename",
        lambda source, target, overwrite: (
            done.append(("rename", source)) or rename(source, target, overwrite)
        ),
    )
    path = str(tmp_path / "file")
    checkpoint_files.write_atomically(path, "text")
    assert done == [("flush", f"{path}.writing"), ("rename", f"{path}.writing")]


def test_file_is_replaced_atomically(tmp_path):
    path = tmp_path / "file"
    checkpoint_files.write_atomically(str(path), "old")
    checkpoint_files.write_atomically(str(path), "new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"", b"\x80\xff weights of another program"])
def test_a_file_named_checkpoint_that_names_none_is_not_an_error(tmp_path, content):
    (tmp_path / "checkpoint").write_bytes(content)
    assert checkpoint_files.find_checkpoint(str(tmp_path)) is None
